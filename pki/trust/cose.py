"""COSE_Sign and COSE_Sign1 (RFC 9052 section 4) in the one form that Kedge uses.

Tagged (98, 18), payload attached, unprotected maps empty, external_aad empty. COSE_Sign: body protected {16: typ}, each
signer protected {1: alg, 4: kid}, signatures sorted by kid. COSE_Sign1: protected {1: alg, 4: kid, 16: typ}.
`typ` is RFC 9596; `kid` is the signing key's thumbprint, which a verifier computes from the key it holds.

A kid may stand twice, and a signature by an unknown key may stand anywhere in the order: both count for nothing. Were
they refused, then removing one would turn a refusal into acceptance, and anybody on the way could add one.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from pki.errors import PkiError
from pki.signatures import verify_raw
from pki.trust import cbor
from pki.trust.errors import CoseInvalid, TypeMismatch
from pki.trust.keys import CoseKey

MAX_MESSAGE = 1 << 19
MAX_SIGNATURES = 64

_TAG_SIGN = b"\xd8\x62"
_TAG_SIGN1 = b"\xd2"
_ALG, _KID, _TYP = 1, 4, 16


class Signature(msgspec.Struct, frozen=True, order=True):
    """One signature: the kid and algorithm it names, the raw signature, and the protected header it covers."""

    kid: bytes
    alg: int
    value: bytes

    @property
    def protected(self) -> bytes:
        """The encoded signer header {1: alg, 4: kid}."""
        return cbor.encode({_ALG: self.alg, _KID: self.kid})


class SignMessage(msgspec.Struct, frozen=True):
    """A parsed COSE_Sign. Parsing proves nothing: `verified_kids` says who signed."""

    payload: bytes
    typ: str
    signatures: tuple[Signature, ...]


class Sign1Message(msgspec.Struct, frozen=True):
    """A parsed COSE_Sign1. Parsing proves nothing: `verify_sign1` checks it."""

    payload: bytes
    typ: str
    signature: Signature


def sign_bytes(typ: str, key: CoseKey, payload: bytes) -> bytes:
    """The Sig_structure that one signer of a COSE_Sign signs (RFC 9052 section 4.4, context "Signature")."""
    signer = cbor.encode({_ALG: key.alg, _KID: key.thumbprint})
    return cbor.encode(["Signature", cbor.encode({_TYP: typ}), signer, b"", payload])


def sign1_bytes(typ: str, key: CoseKey, payload: bytes) -> bytes:
    """The Sig_structure of a COSE_Sign1 (RFC 9052 section 4.4, context "Signature1")."""
    return cbor.encode(["Signature1", _sign1_header(typ, key.alg, key.thumbprint), b"", payload])


def encode_sign(message: SignMessage) -> bytes:
    """The bytes of a COSE_Sign; sorts the signatures by kid. Raises CoseInvalid for a repeated kid or none at all."""
    signatures = sorted(message.signatures)
    if not signatures or len({signature.kid for signature in signatures}) != len(signatures):
        raise CoseInvalid("a COSE_Sign needs at least one signature and none twice")
    signers: list[cbor.Value] = [[signature.protected, {}, signature.value] for signature in signatures]
    return _TAG_SIGN + cbor.encode([cbor.encode({_TYP: message.typ}), {}, message.payload, signers])


def encode_sign1(message: Sign1Message) -> bytes:
    """The bytes of a COSE_Sign1."""
    header = _sign1_header(message.typ, message.signature.alg, message.signature.kid)
    return _TAG_SIGN1 + cbor.encode([header, {}, message.payload, message.signature.value])


def parse_sign(data: bytes) -> SignMessage:
    """Parse a COSE_Sign. Raises CoseInvalid, or a CborInvalid leaf, for any other form than the one of this module."""
    body = _untag(data, _TAG_SIGN, "COSE_Sign (tag 98)")
    match body:
        case [bytes(header), dict(unprotected), bytes(payload), list(signers)] if not unprotected:
            pass
        case _:
            raise CoseInvalid("COSE_Sign is not [protected, {}, payload, signatures]")
    if not 0 < len(signers) <= MAX_SIGNATURES:
        raise CoseInvalid(f"COSE_Sign has {len(signers)} signatures, 1 to {MAX_SIGNATURES} are allowed")
    (typ,) = _read_header(header, (_TYP,))
    signatures = tuple([_read_signer(signer) for signer in signers])
    if any(one.kid > two.kid for one, two in pairwise(signatures)):
        raise CoseInvalid("signatures are not sorted by kid")
    return SignMessage(payload, _as_typ(typ), signatures)


def parse_sign1(data: bytes) -> Sign1Message:
    """Parse a COSE_Sign1. Raises CoseInvalid, or a CborInvalid leaf, for any other form than the one of this module."""
    body = _untag(data, _TAG_SIGN1, "COSE_Sign1 (tag 18)")
    match body:
        case [bytes(header), dict(unprotected), bytes(payload), bytes(value)] if not unprotected:
            alg, kid, typ = _read_header(header, (_ALG, _KID, _TYP))
            return Sign1Message(payload, _as_typ(typ), _as_signature(alg, kid, value))
    raise CoseInvalid("COSE_Sign1 is not [protected, {}, payload, signature]")


def verified_kids(message: SignMessage, keys: Iterable[CoseKey]) -> frozenset[bytes]:
    """The thumbprints of those of `keys` that signed the message: each key once, whatever stands in it how often."""
    by_kid = {key.thumbprint: key for key in keys}
    found: set[bytes] = set()
    for signature in message.signatures:
        key = by_kid.get(signature.kid)
        if key is not None and signature.kid not in found and key.alg == signature.alg:
            try:
                verify_raw(key.to_spki(), signature.value, sign_bytes(message.typ, key, message.payload))
            except PkiError:
                continue  # garbage under a known kid counts for as little as garbage under an unknown one
            found.add(signature.kid)
    return frozenset(found)


def verify_sign1(message: Sign1Message, key: CoseKey) -> bytes:
    """Check the signature and return the payload.

    Raises CoseInvalid when it names another key or algorithm, SignatureInvalid when it is not the key's.
    """
    if (message.signature.kid, message.signature.alg) != (key.thumbprint, key.alg):
        raise CoseInvalid(f"signature names another key or algorithm than {key.thumbprint.hex()[:16]}")
    verify_raw(key.to_spki(), message.signature.value, sign1_bytes(message.typ, key, message.payload))
    return message.payload


def check_typ(found: str, wanted: str) -> None:
    """Raises TypeMismatch unless a message has the type that is expected here."""
    if found != wanted:
        raise TypeMismatch(f"message is {found[:80]!r}, {wanted!r} is expected")


def _sign1_header(typ: str, alg: int, kid: bytes) -> bytes:
    return cbor.encode({_ALG: alg, _KID: kid, _TYP: typ})


def _untag(data: bytes, tag: bytes, name: str) -> cbor.Value:
    if len(data) > MAX_MESSAGE:
        raise CoseInvalid(f"{name} has {len(data)} bytes, {MAX_MESSAGE} are allowed")
    if not data.startswith(tag):
        raise CoseInvalid(f"not a {name}")
    return cbor.decode(data[len(tag) :], max_size=MAX_MESSAGE, max_depth=4)


def _read_header(encoded: bytes, labels: Sequence[int]) -> list[cbor.Value]:
    header = cbor.decode(encoded, max_size=256, max_depth=1)
    if not isinstance(header, dict) or list(header) != list(labels):
        raise CoseInvalid(f"protected header does not have exactly the labels {list(labels)}")
    return list(header.values())


def _read_signer(signer: cbor.Value) -> Signature:
    match signer:
        case [bytes(header), dict(unprotected), bytes(value)] if not unprotected:
            alg, kid = _read_header(header, (_ALG, _KID))
            return _as_signature(alg, kid, value)
    raise CoseInvalid("COSE_Signature is not [protected, {}, signature]")


def _as_signature(alg: cbor.Value, kid: cbor.Value, value: bytes) -> Signature:
    if type(alg) is not int or type(kid) is not bytes or len(kid) != 32:
        raise CoseInvalid("protected header does not name an algorithm and a 32-byte kid")
    return Signature(kid, alg, value)


def _as_typ(typ: cbor.Value) -> str:
    if type(typ) is not str:
        raise CoseInvalid("typ is not a text")
    return typ
