"""One private key, opened for signing in one session."""

import ctypes
from typing import Final

from cryptography.exceptions import InvalidSignature

from hsm.algorithms import ALGORITHMS, load_public_key, verify
from hsm.errors import SignatureMismatch, refuse
from hsm.faults import rv_name
from hsm.keys import KeyPair
from hsm.module import Module

_LONGEST: Final = max(algorithm.signature_bytes for algorithm in ALGORITHMS.values())


class _Mechanism(ctypes.Structure):
    """CK_MECHANISM (PKCS#11 v2.40 section 3.5)."""

    _fields_ = (("mechanism", ctypes.c_ulong), ("parameter", ctypes.c_void_p), ("length", ctypes.c_ulong))


class Signer:
    """Signs, and verifies what the token signed. It belongs to the thread of its session, like its buffers."""

    def __init__(self, module: Module, session: int, pair: KeyPair) -> None:
        self.pair = pair
        self.spki = pair.public.spki
        self._algorithm = ALGORITHMS[pair.public.algorithm]
        self._public = load_public_key(pair.public.public_key)
        self._session = session
        self._key = pair.handle
        self._init = module.function("C_SignInit")
        self._sign = module.function("C_Sign")
        self._mechanism = _Mechanism(mechanism=int(self._algorithm.mechanism), parameter=None, length=0)
        self._buffer = (ctypes.c_char * _LONGEST)()
        self._length = ctypes.c_ulong()

    def sign(self, data: bytes, about: object) -> bytes:
        """A raw signature over `data`, made and verified. `str(about)` names the key in errors."""
        signature = self.make(data, about)
        self.check(signature, data, about)
        return signature

    def make(self, data: bytes, about: object) -> bytes:
        """A raw signature over `data`: r || s with the hash of the curve, or Ed25519. Not for anyone before `check`."""
        prepared = self._algorithm.prepare(data)
        if rv := self._init(self._session, ctypes.addressof(self._mechanism), self._key):
            raise refuse(rv_name(rv), "C_SignInit", str(about))
        self._length.value = _LONGEST
        buffer, length = ctypes.addressof(self._buffer), ctypes.addressof(self._length)
        if rv := self._sign(self._session, prepared, len(prepared), buffer, length):
            raise refuse(rv_name(rv), "C_Sign", str(about))
        return self._buffer.raw[: self._length.value]

    def check(self, signature: bytes, data: bytes, about: object) -> None:
        """Verify what `make` gave, under the public key. Raises SignatureMismatch."""
        try:
            verify(self._algorithm, self._public, signature, data)
        except InvalidSignature as error:
            raise SignatureMismatch(
                f"{about}, C_Sign: the signature does not verify under the registered public key {self.spki[:16]}",
                hint="nothing was returned; the private key was exchanged or the token is broken: stop using it",
            ) from error
