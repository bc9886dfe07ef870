"""The roster: one document, one encoding, one person per key."""

import hashlib
import json
import subprocess
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ceremonies.approvals import NAMESPACE
from ceremonies.errors import OfficerUnknown, RosterMalformed
from ceremonies.officers import Officer, Roster, parse_roster
from ceremonies.sshsig import parse_public_key
from pki.jcs import jcs
from tests.ceremonies.ssh_keys import make_key

ADA, ADA_SPARE, BOB, EVE = (
    make_key(),
    make_key("sk-ssh-ed25519@openssh.com"),
    make_key("ecdsa-sha2-nistp256"),
    make_key(),
)
ROSTER = Roster(
    officers=(
        Officer("ada", "Officer A", (ADA.line, ADA_SPARE.line), ("officer", "secadm")),
        Officer("bob", "Officer B", (BOB.line,), ("officer",)),
        Officer("wil", "Witness W", (EVE.line,), ("witness",)),
    )
)


def changed(**fields: Any) -> bytes:
    return jcs({**json.loads(ROSTER.document), **fields})


def with_first(**fields: Any) -> bytes:
    first, *others = json.loads(ROSTER.document)["officers"]
    return changed(officers=[{**first, **fields}, *others])


def test_a_roster_comes_back_from_its_document() -> None:
    assert parse_roster(ROSTER.document) == ROSTER
    assert ROSTER.digest == hashlib.sha256(ROSTER.document).hexdigest()
    assert ROSTER.document.startswith(b'{"officers":[{"id":"ada","keys":["ssh-ed25519 ')


def test_every_key_leads_to_its_one_person() -> None:
    for key in (ADA, ADA_SPARE):
        assert ROSTER.owner(parse_public_key(key.line + " some comment")).id == "ada"
    assert ROSTER.owner(parse_public_key(BOB.line)).id == "bob"
    assert ROSTER.officer("bob").name == "Officer B"
    with pytest.raises(OfficerUnknown):
        ROSTER.owner(parse_public_key(make_key().line))
    with pytest.raises(OfficerUnknown):
        ROSTER.officer("eve")


def test_persons_are_found_by_role() -> None:
    assert [officer.id for officer in ROSTER.with_roles(("officer",))] == ["ada", "bob"]
    assert [officer.id for officer in ROSTER.with_roles(("secadm", "witness"))] == ["ada", "wil"]
    assert ROSTER.with_roles(()) == ()


@pytest.mark.req("MP-3")
def test_ssh_keygen_reads_the_allowed_signers_file(tmp_path: Path) -> None:
    signers, signature = tmp_path / "allowed_signers", tmp_path / "statement.sig"
    signers.write_text(ROSTER.allowed_signers(NAMESPACE))
    signature.write_text(BOB.sign(b"statement"))
    found = subprocess.run(
        ["ssh-keygen", "-Y", "find-principals", "-f", str(signers), "-s", str(signature)],
        capture_output=True,
        check=True,
    )
    assert found.stdout == b"bob\n"
    arguments = ["-f", str(signers), "-I", "bob", "-s", str(signature)]
    for namespace, expected in [(NAMESPACE, 0), ("git", 255)]:
        signature.write_text(BOB.sign(b"statement", namespace))
        verdict = subprocess.run(
            ["ssh-keygen", "-Y", "verify", "-n", namespace, *arguments],
            input=b"statement",
            capture_output=True,
            check=False,
        )
        assert verdict.returncode == expected


@pytest.mark.req("MP-1", "MP-6")
@pytest.mark.parametrize(
    ("document", "why"),
    [
        (with_first(keys=[BOB.line]), "a key of"),
        (with_first(keys=[ADA.line, ADA.line]), "already"),
        (with_first(keys=[ADA.line + " ada@home"]), "comment"),
        (with_first(keys=[]), "0 keys"),
        (with_first(keys=[ADA.line] * 9), "9 keys"),
        (with_first(keys=["ssh-dss AAAA"]), "key of officer ada"),
        (with_first(name="Officer B"), "name stands twice"),
        (with_first(name=""), "id or name"),
        (with_first(name="A\u202e"), "id or name"),
        (with_first(id="bob"), "sorted by id"),
        (with_first(id="zed"), "sorted by id"),
        (with_first(id="Ada"), "id or name"),
        (with_first(roles=[]), "no role"),
        (with_first(roles=["secadm", "officer"]), "sorted"),
        (with_first(roles=["officer", "witness"]), "cannot be officer and"),
        (with_first(roles=["auditor", "officer"]), "cannot be officer and"),
        (with_first(roles=["Officer"]), "kebab-case"),
        (with_first(email="a@example.com"), "unknown field"),
        (changed(officers=[]), "0 officers"),
        (changed(v=2), "does not parse"),
        (changed(type="kedge/policy/v1"), "does not parse"),
        (changed(extra=1), "unknown field"),
        (ROSTER.document + b"\n", "canonical"),
        (jcs({"officers": json.loads(ROSTER.document)["officers"]}), "leaves out"),
        (b"[]", "does not parse"),
        (b"\xff", "does not parse"),
        (b" " * 70_000, "limit"),
    ],
    ids=count(),  # the same in every worker, although the keys are not
)
def test_rosters_that_are_refused(document: bytes, why: str) -> None:
    with pytest.raises(RosterMalformed, match=why):
        parse_roster(document)


def test_too_many_officers_are_refused() -> None:
    many = tuple(Officer(f"o{number:03}", f"O {number}", (ADA.line,), ("officer",)) for number in range(65))
    with pytest.raises(RosterMalformed, match="65 officers"):
        Roster(officers=many)
