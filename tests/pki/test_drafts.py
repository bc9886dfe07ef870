"""The draft: what it refuses to be, what officers approve of it, and how it becomes a document."""

import hashlib
import json

import pytest
import rfc8785
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pki.drafts import Draft, ToSign
from pki.errors import SignatureInvalid, SignatureMissing
from pki.signatures import der_to_raw, spki_der, spki_sha256

KEYS = [ec.derive_private_key(7 + number, ec.SECP256R1()) for number in range(2)]
PUBLIC = {spki_sha256(der): der for der in (spki_der(key.public_key()) for key in KEYS)}
PRIVATE = {spki_sha256(spki_der(key.public_key())): key for key in KEYS}


def make_draft(payload: bytes = b"payload", data: bytes = b"sign me") -> Draft:
    to_sign = tuple(sorted(ToSign(spki, data) for spki in PUBLIC))
    return Draft("image.test", "Sign a test", payload, to_sign, PUBLIC, {}, lambda raws: b"".join(raws.values()))


def sign(spki: str, data: bytes) -> bytes:
    return der_to_raw(PRIVATE[spki].sign(data, ec.ECDSA(hashes.SHA256())), 32)


def test_the_statement_is_canonical_and_names_every_signer_with_its_bytes() -> None:
    draft = make_draft()
    value = json.loads(draft.statement)
    assert draft.statement == rfc8785.dumps(value)
    assert value["sign"] == [[item.spki, hashlib.sha256(item.data).hexdigest()] for item in draft.to_sign]
    assert draft.digest == hashlib.sha256(draft.statement).hexdigest()


@pytest.mark.req("MP-2")
@pytest.mark.parametrize("other", [make_draft(payload=b"other"), make_draft(data=b"other")])
def test_other_bytes_have_another_digest(other: Draft) -> None:
    assert other.digest != make_draft().digest


def test_a_draft_is_finished_with_every_signature() -> None:
    draft = make_draft()
    signatures = {item.spki: sign(item.spki, item.data) for item in draft.to_sign}
    assert len(draft.finish(signatures)) == 128


def test_a_missing_signature_is_named() -> None:
    draft = make_draft()
    first = draft.to_sign[0]
    with pytest.raises(SignatureMissing, match=draft.to_sign[1].spki[:16]):
        draft.finish({first.spki: sign(first.spki, first.data)})


@pytest.mark.req("HS-3")
def test_a_signature_over_other_bytes_is_refused() -> None:
    draft = make_draft()
    with pytest.raises(SignatureInvalid):
        draft.finish({item.spki: sign(item.spki, b"other bytes") for item in draft.to_sign})


def test_a_draft_is_sorted_and_names_each_key_once() -> None:
    items = make_draft().to_sign
    for wrong in (tuple(reversed(items)), (items[0], items[0])):
        with pytest.raises(ValueError, match=r"not sorted|stands twice"):
            Draft("image.test", "", b"", wrong, PUBLIC, {}, lambda _: b"")


def test_a_draft_holds_the_public_keys_that_it_names() -> None:
    spki = next(iter(PUBLIC))
    other = next(der for name, der in PUBLIC.items() if name != spki)
    with pytest.raises(ValueError, match="not the one"):
        Draft("image.test", "", b"", (ToSign(spki, b""),), {spki: other}, {}, lambda _: b"")
