"""What the blobs must bear out: drafts, signed bytes, keys, signatures, documents."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from pki.drafts import Draft, ToSign
from pki.log.audit import audit_journal
from pki.log.errors import AuditFailed
from pki.log.evidence import MAX_STATEMENT, blob_path
from pki.log.reports import Report
from tests.pki.log.building import ED, P256, P384, Files, Journal, base64url


def audit(journal: Journal) -> Report:
    files = journal.files()
    return audit_journal(files.__getitem__, files, None, allow_open=True)


def refuse(journal: Journal, entry: int, what: str) -> None:
    with pytest.raises(AuditFailed, match=what) as caught:
        audit(journal)
    assert caught.value.entry == entry
    assert str(caught.value).startswith(f"entry {entry}: ")


def test_draft_of_the_rule_book_is_what_the_journal_shows() -> None:
    keys = sorted([P256, ED], key=lambda key: key.spki)
    draft = Draft(
        kind="trust-set",
        summary="A trust set",
        payload=b"payload",
        to_sign=tuple(ToSign(key.spki, b"bytes for " + key.spki.encode()) for key in keys),
        public_keys={key.spki: key.der for key in keys},
        what={"index": 1},
        assemble=lambda signatures: b"document",
    )
    journal = Journal()
    for blob in [draft.statement, *(item.data for item in draft.to_sign), *draft.public_keys.values()]:
        journal.blob(blob)
    operation = {"digest": draft.digest, "kind": draft.kind, "summary": draft.summary, "what": dict(draft.what)}
    uses = [journal.use(key) for key in keys]
    intent = journal.add("key.sign.intent", actor={"sub": "o-1"}, keys=uses, op=operation)
    sigs = [base64url(key.sign(item.data)) for key, item in zip(keys, draft.to_sign, strict=True)]
    out = {"doc": journal.blob(b"document"), "sigs": sigs, "status": "ok"}
    journal.add("key.sign.outcome", ref=journal.ref(intent), out=out)
    report = audit(journal)
    assert (report.signatures, report.documents, report.documents_absent) == (2, 1, 0)


def tamper_signature(sigs: list[str]) -> list[str]:
    return [sigs[0][:-4] + ("AAAA" if not sigs[0].endswith("AAAA") else "BBBA"), *sigs[1:]]


@pytest.mark.req("AU-2", "HS-3")
@pytest.mark.parametrize("key", [P256, P384, ED], ids=["P-256", "P-384", "Ed25519"])
def test_signature_verifies_under_the_key_it_names(key: Any) -> None:
    journal = Journal()
    journal.sign(b"good", [key])
    assert audit(journal).signatures == 1
    intent = journal.intend(b"bad", [key])
    journal.conclude(intent, b"other", [key])
    refuse(journal, 3, f"signature 0 of key {key.spki[:16]}")


@pytest.mark.req("AU-2")
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda sigs: sigs[::-1], "signature 0 of key"),
        (lambda sigs: sigs[:1], "1 signatures, its draft has 2 signers"),
        (lambda sigs: [*sigs, sigs[0]], "3 signatures"),
        (tamper_signature, "signature 0 of key"),
        (lambda sigs: [sigs[0] + "A", sigs[1]], "signature 0 of key"),
    ],
)
def test_signatures_stand_in_the_order_of_the_signers(change: Callable[[list[str]], list[str]], what: str) -> None:
    journal = Journal()
    keys = sorted([P256, ED], key=lambda key: key.spki)
    intent = journal.intend(b"data", keys)
    sigs = [base64url(key.sign(b"data" + key.spki.encode())) for key in keys]
    journal.conclude(intent, b"data", keys, sigs=change(sigs))
    refuse(journal, 1, what)


def test_base64url_has_one_spelling() -> None:
    journal = Journal()
    intent = journal.intend(b"data", [ED])
    sig = base64url(ED.sign(b"data" + ED.spki.encode()))
    last = chr(ord(sig[-1]) + 1)  # Ed25519: 64 bytes leave four unused bits
    assert sig[-1] in "AQgw"
    journal.conclude(intent, b"data", [ED], sigs=[sig[:-1] + last])
    refuse(journal, 1, "not canonical base64url")


def remake(journal: Journal, change: Callable[[dict[str, Any]], object], *, spaces: bool = False) -> Journal:
    """The journal's intent with another draft statement."""
    entry = json.loads(journal.entries.pop())
    statement = json.loads(journal.blobs.pop(entry["op"]["digest"]))
    change(statement)
    separators = None if spaces else (",", ":")
    entry["op"]["digest"] = journal.blob(json.dumps(statement, sort_keys=True, separators=separators).encode())
    journal.add("key.sign.intent", actor=entry["actor"], keys=entry["keys"], op=entry["op"])
    return journal


@pytest.mark.req("AU-2")
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            lambda draft: draft.update(kind="image.mcuboot"),
            "the entry's kind is trust-set, the draft's is image.mcuboot",
        ),
        (lambda draft: draft.update(v=2), "does not parse"),
        (lambda draft: draft.update(more=1), "does not parse"),
        (lambda draft: draft.pop("payload_sha256"), "does not parse"),
        (lambda draft: draft.update(sign=[]), "does not parse"),
        (lambda draft: draft["sign"][0].append("x"), "does not parse"),
        (lambda draft: draft["sign"].reverse(), "not the signers of its draft"),
        (lambda draft: draft["sign"].pop(), "not the signers of its draft"),
        (lambda draft: draft["sign"][0].__setitem__(1, "ab" * 32), "bytes to be signed are missing: blob/ab/abab"),
        (lambda draft: draft.update(kind="x" * MAX_STATEMENT), "at most 65536"),
    ],
)
def test_draft_must_fit_its_intent(change: Callable[[dict[str, Any]], object], what: str) -> None:
    journal = Journal()
    journal.intend(b"data", [P256, ED])
    audit(journal)
    refuse(remake(journal, change), 0, what)


def test_statement_is_canonical() -> None:
    journal = Journal()
    journal.intend(b"data", [P256])
    refuse(remake(journal, lambda draft: None, spaces=True), 0, "not canonical")


def signing(**out: Any) -> Journal:
    journal = Journal()
    journal.conclude(journal.intend(b"data", [P256]), b"data", [P256], **out)
    return journal


@pytest.mark.req("AU-2")
@pytest.mark.parametrize(
    ("blob", "entry", "what"),
    [
        (P256.der, 0, "the public key .* is missing"),
        (b"data" + P256.spki.encode(), 0, "bytes to be signed are missing"),
        (b"statement", 0, "the draft's statement is missing"),
    ],
)
def test_needed_blobs_are_there(blob: bytes, entry: int, what: str) -> None:
    journal = signing()
    digest = hashlib.sha256(blob).hexdigest()
    if blob == b"statement":
        digest = json.loads(journal.entries[0])["op"]["digest"]
    del journal.blobs[digest]
    refuse(journal, entry, what)


def test_absent_document_is_counted() -> None:
    journal = signing()
    del journal.blobs[hashlib.sha256(b"document of data").hexdigest()]
    report = audit(journal)
    assert (report.documents, report.documents_absent) == (0, 1)


@pytest.mark.parametrize("blob", ["doc", "digest", "spki", "data"])
def test_content_is_what_its_name_says(blob: str) -> None:
    journal = signing()
    first, last = (json.loads(entry) for entry in journal.entries)
    digest = {
        "doc": last["out"]["doc"],
        "digest": first["op"]["digest"],
        "spki": P256.spki,
        "data": hashlib.sha256(b"data" + P256.spki.encode()).hexdigest(),
    }[blob]
    journal.blobs[digest] += b"x"
    refuse(journal, 1 if blob == "doc" else 0, f"the content of {blob_path(digest)} has another SHA-256")


def test_reader_that_changes_its_mind_is_noticed() -> None:
    files = signing().files()
    data = blob_path(hashlib.sha256(b"data" + P256.spki.encode()).hexdigest())
    reads: list[str] = []

    def read(path: str) -> bytes:
        reads.append(path)
        return b"other" if path == data and reads.count(path) > 1 else files[path]

    with pytest.raises(AuditFailed, match="entry 1: the signed bytes: the content of"):
        audit_journal(read, files, None)


def test_outcome_agrees_with_its_intent() -> None:
    journal = Journal()
    intent = journal.intend(b"data", [P256])
    sigs = [base64url(P256.sign(b"data" + P256.spki.encode()))]
    out = {"doc": journal.blob(b"doc"), "sigs": sigs, "status": "ok"}
    other = hashlib.sha256(b"another draft").hexdigest()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"op": {"digest": other}}, "op.digest is not that of its intent, entry 0"),
        ({"op": {"kind": "image.mcuboot"}}, "its kind is image.mcuboot, that of its intent, entry 0, is trust-set"),
        ({"keys": [journal.use(ED, counted=False)]}, "keys are not the signers"),
        ({"out": {"sigs": sigs, "status": "ok"}}, "names no document"),
        ({"out": {"doc": out["doc"], "status": "ok"}}, "0 signatures"),
        ({"out": {"sigs": [base64url(bytes(64))], "status": "fail"}}, "signature 0"),
    ]
    for fields, what in cases:
        journal.add("key.sign.outcome", **{"ref": journal.ref(intent), "out": out, **fields})
        refuse(journal, 1, what)
        journal.entries.pop()
    same = json.loads(journal.entries[0])["op"]
    journal.add("key.sign.outcome", ref=journal.ref(intent), out=out, op=same, keys=[journal.use(P256, counted=False)])
    assert audit(journal).signatures == 1


def test_failure_may_have_no_signatures() -> None:
    journal = Journal()
    journal.add("key.sign.outcome", ref=journal.ref(journal.intend(b"a", [P256])), out={"status": "fail"})
    assert audit(journal).signatures == 0


@pytest.mark.req("AU-2", "HS-1")
def test_new_key_proves_its_possession() -> None:
    journal = Journal()
    journal.generate(P384)
    assert audit(journal).signatures == 1
    good = json.loads(journal.entries.pop())
    new, out = good["keys"], good["out"]
    wrong = base64url(P384.sign(b"something else"))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"out": {**out, "sigs": [wrong]}}, "signature 0"),
        ({"out": {**out, "sigs": [*out["sigs"], wrong]}}, "exactly one proof of possession"),
        ({"out": {"status": "ok", "doc": out["doc"]}}, "exactly one proof of possession"),
        ({"keys": [{"id": "ab"}]}, "names no new key"),
        ({"out": {**out, "doc": journal.blob(b"not PEM")}}, "not the PEM of key"),
        ({"out": {**out, "doc": "ab" * 32}}, "the public key is missing"),
        ({"out": {"status": "ok", "sigs": out["sigs"]}}, "not the PEM of key"),
        ({"out": {"status": "fail", "sigs": [wrong]}}, "signature 0"),
        ({"op": {"what": {"challenge": "cd" * 32}}}, "op.what.challenge is missing, or differs"),
        ({"op": {"what": {"challenge": 7}}, "out": {**out, "sigs": [wrong]}}, "signature 0"),
    ]
    for fields, what in cases:
        journal.add("key.generate.outcome", **{"ref": good["ref"], "keys": new, "out": out, **fields})
        refuse(journal, 1, what)
        journal.entries.pop()
    journal = Journal()
    intent = journal.add("key.generate.intent", actor={}, keys=[{"id": "ab"}], op={"kind": "key"})
    journal.add("key.generate.outcome", ref=journal.ref(intent), out={"status": "fail"})
    assert audit(journal).signatures == 0


def test_destruction_has_no_signature() -> None:
    journal = Journal()
    journal.sign(b"a", [P256])
    journal.destroy(P256)
    assert audit(journal).signatures == 1
    outcome = json.loads(journal.entries.pop())
    sigs = [base64url(bytes(64))]
    journal.add("key.destroy.outcome", ref=outcome["ref"], out={"status": "ok", "sigs": sigs})
    refuse(journal, 3, "a key.destroy.outcome has signatures")


def test_blob_that_no_entry_names_is_refused() -> None:
    journal = signing()
    digest = journal.blob(b"smuggled")
    with pytest.raises(AuditFailed, match="no entry names this blob") as caught:
        audit(journal)
    assert caught.value.path == blob_path(digest)


@pytest.mark.parametrize(
    "path", ["blob/ab/" + "cd" * 32, "blob/" + "ab" * 32, "blob/ab/" + "ab" * 31, "readme.txt", "../x"]
)
def test_other_files_are_refused(path: str) -> None:
    files: Files = {**signing().files(), path: b""}
    with pytest.raises(AuditFailed, match="no part of an export") as caught:
        audit_journal(files.__getitem__, files, None)
    assert caught.value.path == path
