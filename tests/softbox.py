"""A strongbox of soft keys with the interface of `hsm.strongbox.Strongbox`, for tests that are not about PKCS#11."""

import hashlib
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from hsm.errors import HsmError, KeyExists, KeyNotFound
from hsm.inventory import TokenInventory
from hsm.keys import GeneratedKey, KeyName
from hsm.memos import check_memo
from hsm.objects import StoredObject
from hsm.series import Calm, Made
from hsm.signed import Signed
from hsm.templates import MEMO_FLAGS, PRIVATE_FLAGS, PROVENANCE, PUBLIC_FLAGS, name_attribute

_Private = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_FLAGS: Final = {"private-key": PRIVATE_FLAGS | PROVENANCE, "public-key": PUBLIC_FLAGS}
_MEMO: Final = {name_attribute(flag): value for flag, value in MEMO_FLAGS.items()}
_LABELS: Final[dict[tuple[str, bytes], str]] = {}
"""A soft key does not know its label, and its token may be copied: labels are remembered for all of them."""


class Softbox(Calm):
    """Keys and memos in memory. Both may be given to a second Softbox: the token outlives the process."""

    is_software = True
    stopped: tuple[tuple[bytes, str], ...] = ()

    def __init__(
        self,
        labels: Sequence[str],
        shared: dict[tuple[str, bytes], _Private] | None = None,
        memos: dict[tuple[str, str], tuple[bytes, ...]] | None = None,
    ) -> None:
        self.labels = tuple(labels)
        self.memos: dict[tuple[str, str], tuple[bytes, ...]] = {} if memos is None else memos
        self.keys: dict[tuple[str, bytes], _Private] = {} if shared is None else shared
        self.signed = 0
        self.signed_by: Counter[str] = Counter()

    def generate(self, token: str, key_id: bytes, label: str, algorithm: str) -> GeneratedKey:
        """A fresh key that has proven itself."""
        if (token, key_id) in self.keys:
            raise KeyExists(f"key {label} exists")
        makers: Mapping[str, _Private] = {
            "p256": ec.generate_private_key(ec.SECP256R1()),
            "p384": ec.generate_private_key(ec.SECP384R1()),
            "ed25519": ed25519.Ed25519PrivateKey.generate(),
        }
        private = makers[algorithm]
        public = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.keys[token, key_id] = private
        _LABELS[token, key_id] = label
        name = KeyName(token=token, id=key_id, spki=hashlib.sha256(public).hexdigest(), label=label)
        challenge = secrets.token_bytes(32)
        proof = self.sign(name, challenge)
        return GeneratedKey(name, public, algorithm, self.token_serial(token), {"sensitive": True}, challenge, proof)

    def sign(self, key: KeyName, data: bytes) -> bytes:
        """Raw r || s, or 64 bytes of Ed25519."""
        private = self.keys.get((key.token, key.id))
        if private is None:
            raise KeyNotFound(f"key {key.label} is not here")
        self.signed += 1
        self.signed_by[key.label] += 1
        if isinstance(private, ed25519.Ed25519PrivateKey):
            return private.sign(data)
        size = private.curve.key_size // 8
        digest = hashes.SHA256() if size == 32 else hashes.SHA384()
        r, s = decode_dss_signature(private.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def start(self, items: Sequence[tuple[KeyName, bytes]]) -> Made:
        """As the strongbox does."""
        return Made([self._sign_one(*item) for item in items])

    def _sign_one(self, key: KeyName, data: bytes) -> Signed:
        try:
            return Signed(self.sign(key, data), None, 1)
        except HsmError as error:
            return Signed(b"", error, 1)

    def destroy(self, token: str, key_id: bytes) -> bool:
        """Forget a key."""
        return self.keys.pop((token, key_id), None) is not None

    def exists(self, token: str, key_id: bytes) -> bool:
        """Whether a key is there."""
        return (token, key_id) in self.keys

    def read_memos(self, token: str, label: str) -> tuple[bytes, ...]:
        """As the strongbox does."""
        return self.memos.get((token, label), ())

    def write_memo(self, token: str, label: str, data: bytes) -> int:
        """As the strongbox does."""
        check_memo(label, data)
        before = self.read_memos(token, label)
        self.memos[token, label] = (data,)
        return len(before)

    def inventory(self) -> tuple[TokenInventory, ...]:
        """Every token with both halves of its keys, as generated."""
        return tuple(
            TokenInventory(
                label=label,
                serial=self.token_serial(label),
                manufacturer="Kedge",
                model="Softbox",
                firmware="1.0",
                objects=tuple(
                    stored_object(kind, key_id, _LABELS.get((token, key_id), ""), private)
                    for (token, key_id), private in sorted(self.keys.items(), key=lambda item: item[0])
                    if token == label
                    for kind in _FLAGS
                )
                + tuple(
                    StoredObject("data", b"", name, "", b"", "", _MEMO)
                    for (token, name), memos in self.memos.items()
                    if token == label
                    for _ in memos
                ),
            )
            for label in self.labels
        )

    def random(self, count: int) -> bytes:
        """Random bytes."""
        return secrets.token_bytes(count)

    def token_serial(self, label: str) -> str:
        """A serial that follows from the label."""
        return hashlib.sha256(label.encode()).hexdigest()[:16]

    def close(self) -> None:
        """Nothing to close."""


def stored_object(kind: str, key_id: bytes, label: str, private: _Private) -> StoredObject:
    """One half of a soft key, as a token would tell it."""
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    shown = public if kind == "public-key" else b""
    return StoredObject(
        kind=kind,
        id=key_id,
        label=label,
        algorithm="",
        public_key=shown,
        spki=hashlib.sha256(shown).hexdigest() if shown else "",
        attributes={name_attribute(flag): value for flag, value in _FLAGS[kind].items()},
    )


def remember_label(token: str, key_id: bytes, label: str) -> None:
    """Tell the label of a soft key that another process made."""
    _LABELS[token, key_id] = label
