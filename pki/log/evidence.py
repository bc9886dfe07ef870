"""The blobs of an export and what they show: the drafts that were approved, the bytes that were signed, by which keys.

A blob is a file `blob/<first two digits>/<SHA-256 in lowercase hex>`: a draft's statement (`pki.drafts`), bytes that a
key signed, a DER public key (its name is the spki), a document, a challenge, or whatever else an entry names.
"""

import base64
import hashlib
import re
import textwrap
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pki.errors import PkiError
from pki.log.digests import Digests
from pki.log.errors import AuditFailed
from pki.log.leaves import KeyUse, Leaf, Sha256
from pki.log.ledger import Intent, refuse_entry
from pki.signatures import verify_raw

MAX_STATEMENT = 64 * 1024

_PATH = re.compile(r"blob/([0-9a-f]{2})/(\1[0-9a-f]{62})\Z")
_DIGEST = re.compile(rb'"([0-9a-f]{64})"')


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What officers approve: the kind, the payload's digest, and for each key the digest of the bytes it signs."""

    kind: str
    payload_sha256: Sha256
    sign: Annotated[list[tuple[Sha256, Sha256]], Meta(min_length=1, max_length=64)]
    v: Literal[1]


_STATEMENT = msgspec.json.Decoder(Statement)
_ENCODER = msgspec.json.Encoder(order="sorted")


def blob_path(digest: str) -> str:
    """The path of the blob with this lowercase hex SHA-256."""
    return f"blob/{digest[:2]}/{digest}"


def read_blob_path(path: str) -> str | None:
    """The SHA-256 in the path of a blob; None when it is no such path."""
    match = _PATH.match(path)
    return match[2] if match else None


def named_digests(data: bytes) -> set[str]:
    """Every SHA-256 that an entry or a statement names: the blobs that may belong to it."""
    return {match.decode() for match in _DIGEST.findall(data)}


class Evidence:
    """The blobs of one export: `blobs`, and those among `paths`, which are nothing else. They cost 33 bytes each.

    Raises AuditFailed, naming the entry that is not borne out.
    """

    def __init__(self, read: Callable[[str], bytes], paths: Iterable[str], blobs: Digests) -> None:
        self._read = read
        names: set[str] = set()
        for path in paths:
            name = read_blob_path(path)
            if name is None:
                raise AuditFailed(f"{path}: no part of an export", path=path, hint="remove it, or ask who put it there")
            names.add(name)
        self._blobs = Digests(chain(blobs, names)) if names else blobs
        self._named = bytearray(len(self._blobs))  # by position: whether an entry names it
        self._keys: dict[str, bytes] = {}
        self._drafts: dict[int, Statement] = {}
        self.signatures = 0
        self.documents = 0
        self.documents_absent = 0

    def check_entry(self, index: int, data: bytes, leaf: Leaf, closes: Intent | None) -> None:
        """Check what an entry says against the blobs. `closes` is the intent that it closes."""
        self._check_named(index, data)
        if leaf.type == "key.sign.intent":
            self._drafts[index] = self._check_draft(index, leaf)
        if closes is None:
            return
        draft = self._drafts.pop(closes.index, None)
        if draft is None and closes.leaf.type == "key.sign.intent":  # it stands before what is being checked
            draft = self._check_draft(closes.index, closes.leaf)
            self._check_named(closes.index, _ENCODER.encode(closes.leaf))
        if leaf.type == "key.sign.outcome" and draft is not None:
            self._check_signing(index, leaf, closes, draft)
        elif leaf.type == "key.generate.outcome":
            self._check_generation(index, leaf, closes)
        elif leaf.out is not UNSET and leaf.out.sigs is not UNSET:
            refuse_entry(index, f"a {leaf.type} has signatures")

    def finish(self) -> None:
        """Refuse blobs that no entry names."""
        unnamed = self._named.find(0)
        if unnamed >= 0:
            path = blob_path(self._blobs.name(unnamed))
            raise AuditFailed(f"{path}: no entry names this blob", path=path, hint="remove it, or ask who put it there")

    @property
    def count(self) -> int:
        """The number of blobs."""
        return len(self._blobs)

    def _check_named(self, index: int, data: bytes) -> None:
        """Read, once, each blob that these bytes name, and check that its content is what its name says."""
        for name in named_digests(data):
            at = self._blobs.find(name)
            if at < 0 or self._named[at]:
                continue
            content = self._read(blob_path(name))
            if hashlib.sha256(content).hexdigest() != name:
                refuse_entry(index, f"the content of {blob_path(name)} has another SHA-256 than its name")
            self._named[at] = True

    def _blob(self, index: int, name: str, what: str) -> bytes:
        at = self._blobs.find(name)
        if at < 0:
            refuse_entry(index, f"{what} is missing: {blob_path(name)}")
        content = self._read(blob_path(name))
        # Always, not only once: `read` may give other bytes the second time.
        if hashlib.sha256(content).hexdigest() != name:
            refuse_entry(index, f"{what}: the content of {blob_path(name)} has another SHA-256 than its name")
        self._named[at] = True
        return content

    def _check_draft(self, index: int, leaf: Leaf) -> Statement:
        if leaf.op is UNSET or leaf.op.digest is UNSET:
            refuse_entry(index, "it names no draft")
        data = self._blob(index, leaf.op.digest, "the draft's statement")
        if len(data) > MAX_STATEMENT:
            refuse_entry(index, f"the draft's statement has {len(data)} bytes, at most {MAX_STATEMENT} are allowed")
        try:
            draft = _STATEMENT.decode(data)
        except (UnicodeDecodeError, RecursionError, msgspec.MsgspecError) as error:
            raise AuditFailed(f"entry {index}: the draft's statement does not parse: {error}", entry=index) from error
        if _ENCODER.encode(draft) != data:
            refuse_entry(index, "the draft's statement is not canonical")
        if draft.kind != leaf.op.kind:
            refuse_entry(index, f"the entry's kind is {leaf.op.kind}, the draft's is {draft.kind}")
        self._check_keys(index, leaf.keys, draft)
        self._check_named(index, data)
        for spki, digest in draft.sign:
            self._key(index, spki)
            if digest not in self._blobs:
                refuse_entry(index, f"the bytes to be signed are missing: {blob_path(digest)}")
        return draft

    def _check_signing(self, index: int, leaf: Leaf, intent: Intent, draft: Statement) -> None:
        if leaf.out is UNSET:
            refuse_entry(index, "it has no out")
        if leaf.keys is not UNSET:
            self._check_keys(index, leaf.keys, draft)
        if _draft_digest(leaf) not in (None, _draft_digest(intent.leaf)):
            refuse_entry(index, f"its op.digest is not that of its intent, entry {intent.index}")
        if leaf.op is not UNSET and leaf.op.kind not in (UNSET, draft.kind):
            named = f"that of its intent, entry {intent.index}, is {draft.kind}"
            refuse_entry(index, f"its kind is {leaf.op.kind}, {named}")
        if leaf.out.status == "ok":
            self._check_document(index, leaf.out.doc)
        elif leaf.out.sigs is UNSET:
            return
        sigs = leaf.out.sigs if leaf.out.sigs is not UNSET else []
        if len(sigs) != len(draft.sign):
            refuse_entry(index, f"it has {len(sigs)} signatures, its draft has {len(draft.sign)} signers")
        for position, (spki, digest) in enumerate(draft.sign):
            data = self._blob(index, digest, "the signed bytes")
            self._verify(index, position, (spki, sigs[position]), data)

    def _check_generation(self, index: int, leaf: Leaf, intent: Intent) -> None:
        """The new key's proof of possession, and its document: the public key as PEM (RFC 7468)."""
        if leaf.out is UNSET or (leaf.out.status != "ok" and leaf.out.sigs is UNSET):
            return
        if _is_unpublished(leaf):
            # Trust sets commit to a recovery key's thumbprint only; its proof would publish the key.
            if leaf.out.sigs is not UNSET or leaf.out.doc is not UNSET:
                refuse_entry(index, "its key is unpublished, but it has signatures or a document")
            return
        if leaf.keys is UNSET or leaf.keys[0].spki is UNSET or leaf.out.sigs is UNSET or len(leaf.out.sigs) != 1:
            refuse_entry(index, "it names no new key in keys[0].spki, or has not exactly one proof of possession")
        spki = leaf.keys[0].spki
        names = {name for name in (_challenge(leaf), _challenge(intent.leaf)) if name is not None}
        if len(names) != 1:
            refuse_entry(index, "op.what.challenge is missing, or differs from that of its intent")
        self._verify(index, 0, (spki, leaf.out.sigs[0]), self._blob(index, names.pop(), "the challenge"))
        if leaf.out.doc is UNSET or self._blob(index, leaf.out.doc, "the public key") != _pem(self._key(index, spki)):
            refuse_entry(index, f"its document is not the PEM of key {spki[:16]}")
        self.documents += 1

    def _check_document(self, index: int, doc: str | UnsetType) -> None:
        if doc is UNSET:
            refuse_entry(index, "it is ok, but names no document in out.doc")
        if doc in self._blobs:
            self.documents += 1
        else:
            self.documents_absent += 1  # larger than the export takes; whoever holds it compares its SHA-256

    def _check_keys(self, index: int, keys: list[KeyUse] | UnsetType, draft: Statement) -> None:
        named = [key.spki for key in keys] if keys is not UNSET else []
        if named != [spki for spki, _ in draft.sign]:
            refuse_entry(index, "its keys are not the signers of its draft, in the same order")

    def _key(self, index: int, spki: str) -> bytes:
        if spki not in self._keys:
            self._keys[spki] = self._blob(index, spki, f"the public key {spki[:16]}")
        return self._keys[spki]

    def _verify(self, index: int, position: int, signed: tuple[str, str], data: bytes) -> None:
        spki, signature = signed
        key = self._key(index, spki)
        try:
            verify_raw(key, _decode_signature(signature), data)
        except (PkiError, ValueError) as error:
            raise AuditFailed(
                f"entry {index}: signature {position} of key {spki[:16]}: {error}", entry=index
            ) from error
        self.signatures += 1


def _decode_signature(text: str) -> bytes:
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(raw).decode().rstrip("=") != text:
        raise ValueError("not canonical base64url")
    return raw


def _draft_digest(leaf: Leaf) -> str | None:
    return leaf.op.digest if leaf.op is not UNSET and leaf.op.digest is not UNSET else None


def _challenge(leaf: Leaf) -> str | None:
    what: dict[str, Any] = leaf.op.what if leaf.op is not UNSET and leaf.op.what is not UNSET else {}
    name = what.get("challenge")
    return name if isinstance(name, str) else None


def _is_unpublished(leaf: Leaf) -> bool:
    return leaf.op is not UNSET and leaf.op.what is not UNSET and leaf.op.what.get("unpublished") is True


def _pem(spki: bytes) -> bytes:
    lines = textwrap.wrap(base64.b64encode(spki).decode(), 64)
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""]).encode()
