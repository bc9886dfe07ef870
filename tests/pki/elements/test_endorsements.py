"""Endorsement certificates: of a key that decrypts, by a maker who is pinned, and nothing else."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.elements.endorsements import EndorsementKey, read_endorsement
from pki.elements.errors import EndorsementRefused, PathRefused
from pki.signatures import spki_sha256
from tests.makers import NOW, Maker, endorse, make_key

ROOT = Maker("TPM Root")
MIDDLE = Maker("TPM EK CA", ROOT)
PINS = (ROOT.certificate,)
RSA = rsa.generate_private_key(65537, 2048).public_key()
ECC = make_key().public_key()


@pytest.mark.parametrize("key", [RSA, ECC])
def test_an_endorsement_key_is_named_by_its_key(key: EndorsementKey) -> None:
    found = read_endorsement(endorse(MIDDLE, key), [MIDDLE.der], PINS, NOW)
    assert found.key == key
    assert found.spki == spki_sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


@pytest.mark.req("CA-2")
@pytest.mark.parametrize(
    ("key", "changed", "why"),
    [
        (RSA, {"purpose": "2.23.133.8.3"}, "lacks key usage or the purpose"),
        (RSA, {"without": ("purpose",)}, "lacks key usage or the purpose"),
        (RSA, {"without": ("usage",)}, "lacks key usage or the purpose"),
        (RSA, {"authority": True}, "one of a CA"),
        (RSA, {"usages": ("key_agreement",)}, "not the usage"),
        (ECC, {"usages": ("key_encipherment",)}, "not the usage"),
        (ECC, {"usages": ("key_agreement", "digital_signature")}, "not the usage"),
        (rsa.generate_private_key(65537, 1024).public_key(), {}, "neither"),
        (rsa.generate_private_key(3, 2048).public_key(), {}, "neither"),
        (ec.generate_private_key(ec.SECP384R1()).public_key(), {}, "neither"),
    ],
)
def test_what_is_no_endorsement(key: EndorsementKey, changed: dict[str, Any], why: str) -> None:
    with pytest.raises(EndorsementRefused, match=why):
        read_endorsement(endorse(MIDDLE, key, **changed), [MIDDLE.der], PINS, NOW)


@pytest.mark.req("CA-2")
def test_a_maker_who_is_not_pinned_says_nothing() -> None:
    other = Maker("TPM Root")
    with pytest.raises(PathRefused, match="nobody who is pinned"):
        read_endorsement(endorse(other, RSA), [other.der], PINS, NOW)
    with pytest.raises(EndorsementRefused, match="pins no maker"):
        read_endorsement(endorse(MIDDLE, RSA), [MIDDLE.der], (), NOW)
