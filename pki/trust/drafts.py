"""Drafts of COSE messages: which bytes each key signs, and how the message comes to be from the signatures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pki.drafts import Draft, ToSign
from pki.signatures import spki_sha256
from pki.trust.cose import (
    Sign1Message,
    Signature,
    SignMessage,
    encode_sign,
    encode_sign1,
    sign1_bytes,
    sign_bytes,
)
from pki.trust.errors import ThresholdNotMet
from pki.trust.keys import CoseKey
from pki.trust.payloads import Payload

Check = Callable[[bytes], object]


def draft_sign(
    payload: Payload, signers: Sequence[CoseKey], *, summary: str, what: Mapping[str, Any], check: Check
) -> Draft:
    """A COSE_Sign over the payload; a key that is given twice signs once.

    check: verifies the finished message as its reader will; the document leaves the draft only when it passes.
    Raises ThresholdNotMet without a signer, CoseKeyInvalid or KeyUnsupported for a key that cannot sign.
    """
    data, typ = payload.to_payload(), payload.typ()
    keys = {spki_sha256(key.to_spki()): key for key in signers}
    if not keys:
        raise ThresholdNotMet(f"{payload.NAME}: no signer is named")

    def assemble(raw: Mapping[str, bytes]) -> bytes:
        signatures = tuple(Signature(key.thumbprint, key.alg, raw[spki]) for spki, key in keys.items())
        document = encode_sign(SignMessage(data, typ, signatures))
        check(document)
        return document

    return Draft(
        kind=payload.NAME,
        summary=summary,
        payload=data,
        to_sign=tuple(sorted(ToSign(spki, sign_bytes(typ, key, data)) for spki, key in keys.items())),
        public_keys={spki: key.to_spki() for spki, key in keys.items()},
        what=what,
        assemble=assemble,
    )


def draft_sign1(payload: Payload, signer: CoseKey, *, summary: str, what: Mapping[str, Any], check: Check) -> Draft:
    """A COSE_Sign1 over the payload by one key; `check` as in `draft_sign`."""
    data, typ = payload.to_payload(), payload.typ()
    spki = spki_sha256(signer.to_spki())

    def assemble(raw: Mapping[str, bytes]) -> bytes:
        document = encode_sign1(Sign1Message(data, typ, Signature(signer.thumbprint, signer.alg, raw[spki])))
        check(document)
        return document

    return Draft(
        kind=payload.NAME,
        summary=summary,
        payload=data,
        to_sign=(ToSign(spki, sign1_bytes(typ, signer, data)),),
        public_keys={spki: signer.to_spki()},
        what=what,
        assemble=assemble,
    )
