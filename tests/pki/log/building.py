"""Builds small, valid journals with soft keys, and exports of them as a mapping from path to content."""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from pki.log.checkpoints import Checkpoint
from pki.log.evidence import blob_path
from pki.log.leaves import FIRST_PREV, encode_leaf
from pki.log.merkle import Frontier, leaf_hash
from pki.log.notes import LOG_KEY, WITNESS_KEY, VerifierKey, add_signature, assemble_note, cosigned_text
from pki.log.schema import leaf_schema
from pki.log.tiles import ENTRIES, encode_bundle, list_tiles
from pki.signatures import der_to_raw, spki_der, spki_sha256

ORIGIN = "kedge.example/journal"
SOFTWARE = hashlib.sha256(b"software").hexdigest()

Files = dict[str, bytes]


class NoteKey:
    """A soft Ed25519 key that signs checkpoints, or cosigns them."""

    def __init__(self, seed: int, name: str = ORIGIN, kind: int = LOG_KEY) -> None:
        self._key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.public = VerifierKey(name, kind, self._key.public_key().public_bytes_raw())

    def sign(self, text: bytes) -> bytes:
        return assemble_note(text, self.public.name, self.public.key_id, self._key.sign(text))

    def cosign(self, note: bytes, timestamp: int) -> bytes:
        text = note[: note.rindex(b"\n\n") + 1]
        signature = self._key.sign(cosigned_text(text, timestamp))
        return add_signature(note, self.public.name, self.public.key_id, timestamp.to_bytes(8, "big") + signature)


LOG = NoteKey(1)
WITNESSES = [NoteKey(seed, f"witness.example/{seed}", WITNESS_KEY) for seed in (11, 12, 13)]
POLICY = "\n".join(
    [
        f"log {LOG.public.encode()}",
        *(f"witness w{number} {witness.public.encode()}" for number, witness in enumerate(WITNESSES, 1)),
        "group two 2 w1 w2 w3",
        "quorum two",
        "",
    ]
).encode()


class SoftKey:
    """A soft key that signs as the strongbox does: raw, deterministic (RFC 6979) so that exports are reproducible."""

    def __init__(self, kind: str, seed: int) -> None:
        self._curve = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}.get(kind)
        self._key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey = (
            ec.derive_private_key(seed, self._curve)
            if self._curve
            else ed25519.Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        )
        self.der = spki_der(self._key.public_key())
        self.spki = spki_sha256(self.der)
        self.id = f"{seed:04x}"

    @property
    def pem(self) -> bytes:
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, data: bytes) -> bytes:
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(data)
        size = self._key.key_size // 8
        digest = hashes.SHA256() if size == 32 else hashes.SHA384()
        return der_to_raw(self._key.sign(data, ec.ECDSA(digest, deterministic_signing=True)), size)


P256, P384, ED = SoftKey("P-256", 21), SoftKey("P-384", 22), SoftKey("Ed25519", 23)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Journal:
    """A journal in memory."""

    def __init__(self, origin: str = ORIGIN) -> None:
        self.origin = origin
        self.entries: list[bytes] = []
        self.blobs: dict[str, bytes] = {}
        self.uses: dict[str, int] = {}

    def leaf(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next entry as a dict, not yet added."""
        seq = len(self.entries)
        return {
            "v": 1,
            "log": self.origin,
            "seq": seq,
            "prev": leaf_hash(self.entries[-1]).hex() if self.entries else FIRST_PREV,
            "id": f"01900000-0000-7000-8000-{seq:012x}",
            "type": kind,
            "ts": f"2026-03-01T{seq // 3600 % 24:02d}:{seq // 60 % 60:02d}:{seq % 60:02d}.000001Z",
            "mono": {"boot": "boot-1", "us": seq},
            "node": {"id": "keyroom-1", "sw": SOFTWARE},
            **fields,
        }

    def add(self, kind: str, **fields: Any) -> int:
        """Add an entry. Returns its index."""
        self.entries.append(encode_leaf(self.leaf(kind, **fields)))
        return len(self.entries) - 1

    def blob(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    def ref(self, index: int) -> dict[str, Any]:
        return {"h": leaf_hash(self.entries[index]).hex(), "i": index}

    def use(self, key: SoftKey, *, counted: bool = True) -> dict[str, Any]:
        """A member of `keys`; when counted, with the key's next kctr."""
        use: dict[str, Any] = {"id": key.id, "label": "key", "spki": key.spki, "token": "SOFT1"}
        if counted:
            self.uses[key.spki] = self.uses.get(key.spki, 0) + 1
            use["kctr"] = self.uses[key.spki]
        return use

    def generate(self, key: SoftKey) -> None:
        challenge = self.blob(b"possession of " + key.id.encode())
        operation = {"kind": "key", "what": {"challenge": challenge}}
        new = {"id": key.id, "label": "key", "token": "SOFT1"}
        intent = self.add("key.generate.intent", actor={"sub": "o-1"}, keys=[new], op=operation)
        self.blob(key.der)
        proof = base64url(key.sign(self.blobs[challenge]))
        out = {"doc": self.blob(key.pem), "rv": "CKR_OK", "sigs": [proof], "status": "ok"}
        self.add("key.generate.outcome", ref=self.ref(intent), keys=[self.use(key, counted=False)], out=out)

    def destroy(self, key: SoftKey) -> None:
        keys = [self.use(key, counted=False)]
        intent = self.add("key.destroy.intent", actor={"sub": "o-1"}, keys=keys, op={"kind": "key"})
        self.add("key.destroy.outcome", ref=self.ref(intent), keys=keys, out={"rv": "CKR_OK", "status": "ok"})

    def intend(self, data: bytes, keys: Sequence[SoftKey], **fields: Any) -> int:
        """A signing intent over `data` plus each key's spki, as COSE_Sign has other bytes for each signer."""
        signers = sorted(keys, key=lambda key: key.spki)
        signed = [(key.spki, self.blob(data + key.spki.encode())) for key in signers]
        for key in signers:
            self.blob(key.der)
        payload = hashlib.sha256(data).hexdigest()
        statement = {"kind": "trust-set", "payload_sha256": payload, "sign": signed, "v": 1}
        digest = self.blob(json.dumps(statement, sort_keys=True, separators=(",", ":")).encode())
        what = fields.pop("what", {"serial": "X1"})
        operation = {"digest": digest, "kind": "trust-set", "summary": "Trust set ü", "what": what}
        uses = [self.use(key) for key in signers]
        return self.add("key.sign.intent", **{"actor": {"sub": "s-1"}, "keys": uses, "op": operation, **fields})

    def conclude(self, intent: int, data: bytes, keys: Sequence[SoftKey], **out: Any) -> int:
        """The outcome of `intend` with the same arguments."""
        signers = sorted(keys, key=lambda key: key.spki)
        sigs = [base64url(key.sign(data + key.spki.encode())) for key in signers]
        result = {
            "doc": self.blob(b"document of " + data),
            "rv": "CKR_OK",
            "sigs": sigs,
            "status": "ok",
            "us": 9,
            **out,
        }
        return self.add("key.sign.outcome", ref=self.ref(intent), out=result)

    def sign(self, data: bytes, keys: Sequence[SoftKey], **fields: Any) -> None:
        self.conclude(self.intend(data, keys, **fields), data, keys)

    def unknown(self, intent: int) -> int:
        return self.add("key.sign.unknown", ref=self.ref(intent), out={"status": "unknown", "why": "restart"})

    def files(self) -> Files:
        """A complete export with a checkpoint by LOG, cosigned by two witnesses, and one earlier checkpoint."""
        return assemble_export(self.entries, self.blobs)


def sign_checkpoint(checkpoint: Checkpoint, log: NoteKey = LOG) -> bytes:
    note = log.sign(checkpoint.encode())
    for witness in WITNESSES[:2]:
        note = witness.cosign(note, 1_780_000_000)
    return note


def assemble_export(entries: Sequence[bytes], blobs: dict[str, bytes]) -> Files:
    """An export of exactly these entries, whether or not they fit together."""
    digests = [leaf_hash(entry) for entry in entries]
    size = len(entries)
    files: Files = {}
    for tile in list_tiles(size):
        if tile.level == ENTRIES:
            start = tile.index * 256
            files[tile.path] = encode_bundle(entries[start : start + tile.width])
        elif tile.level == 0:
            files[tile.path] = b"".join(digests[tile.index * 256 :][: tile.width])
        else:
            span, first = 256**tile.level, tile.index * 256
            starts = range(first * span, (first + tile.width) * span, span)
            files[tile.path] = b"".join([Frontier().extend(digests[at : at + span]).root for at in starts])
    for length in {size, size // 2}:
        checkpoint = Checkpoint(ORIGIN, length, Frontier().extend(digests[:length]).root)
        files["checkpoint" if length == size else f"checkpoints/{length}"] = sign_checkpoint(checkpoint)
    files |= {blob_path(digest): data for digest, data in blobs.items()}
    files["leaf.schema.json"] = leaf_schema()
    return files


@cache
def sample_journal() -> Journal:
    """A journal of some 430 entries with every kind of story in it. Shared: do not change it."""
    journal = Journal()
    journal.add("log.start")
    journal.add("ceremony.start", cer="genesis-1", actor={"sub": "o-1", "role": "administrator"})
    for key in (P256, P384, ED):
        journal.generate(key)
    approvals = [journal.add("approval", actor={"sub": f"o-{n}"}, op={"what": {"ok": True}}) for n in (1, 2)]
    counted = [{**journal.ref(index), "officer": f"o-{n}"} for n, index in enumerate(approvals, 1)]
    journal.sign(b"first trust set", [P256, P384, ED], apr=counted, cer="genesis-1")
    for batch in range(50):
        works = [(b"work %d.%d" % (batch, n), [(P256, ED, P384)[n]]) for n in range(3)]
        intents = [journal.intend(data, keys, req=f"r-{batch}-{n}") for n, (data, keys) in enumerate(works)]
        for intent, (data, keys) in reversed(list(zip(intents, works, strict=True))):
            journal.conclude(intent, data, keys)
        if batch % 10 == 0:
            denied = {"digest": hashlib.sha256(b"refused").hexdigest(), "kind": "certificate.idevid"}
            journal.add("key.sign.denied", op=denied, out={"status": "denied", "why": "quota-spent"})
            journal.unknown(journal.intend(b"crash %d" % batch, [P256]))
            failed = journal.intend(b"fault %d" % batch, [ED])
            out = {"rv": "CKR_DEVICE_ERROR", "status": "fail", "why": "strongbox-failed"}
            journal.add("key.sign.outcome", ref=journal.ref(failed), out=out)
            large = journal.intend(b"large %d" % batch, [P256])
            journal.conclude(large, b"large %d" % batch, [P256])
            del journal.blobs[hashlib.sha256(b"document of large %d" % batch).hexdigest()]
            journal.add("suppressed", op={"what": {"count": 7, "sha256": hashlib.sha256(b"x").hexdigest()}})
    csr = journal.blob(b"a certificate request")
    journal.add("receipt.batch", op={"what": {"csr": csr, "counts": [1, 2], "deep": {"a": {"b": False}}}})
    journal.destroy(P384)
    for number in range(80):
        journal.add("probe", op={"what": {"n": number}})
    journal.add("log.stop")
    return journal
