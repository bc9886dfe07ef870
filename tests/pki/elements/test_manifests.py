"""Manifests of secure elements: both words must be true, and nothing else about a file is taken on trust."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from hypothesis import given
from hypothesis import strategies as st

from pki.elements.errors import ManifestRefused
from pki.elements.manifests import ENTRIES_LIMIT, BadEntry, Pins, decode_url, read_manifest
from pki.signatures import spki_der, spki_sha256
from tests.makers import NOW, Foundry, Maker, b64, make_key, url, write_jwk

FOUNDRY = Foundry()
OTHER = Foundry()
KEY = make_key()
ID = "0123f1822c38dd7a01"
Entry = dict[str, Any]


def read(*values: Any, pins: Pins = FOUNDRY.pins) -> list[BadEntry]:
    return read_manifest(json.dumps(values).encode(), pins, NOW)[1]


def describe(**changed: Any) -> Entry:
    return FOUNDRY.describe(KEY, ID, **changed)


def certified(*chain: bytes, **changed: Any) -> list[Entry]:
    return [{**write_jwk(KEY, "0"), "x5c": [b64(item) for item in chain], **changed}]


@pytest.mark.req("CA-2")
def test_a_manifest_gives_the_key_that_has_a_certificate() -> None:
    keys, bad = read_manifest(FOUNDRY.deliver(KEY, make_key()), FOUNDRY.pins, NOW)
    assert bad == []
    assert keys[1].spki == spki_sha256(spki_der(KEY.public_key()))
    assert [key.unique_id for key in keys.values()] == [f"{1:018x}", f"{2:018x}"]
    assert keys[1].part == "ATECC608B-TFLXTLSS"


GOOD = FOUNDRY.sign(describe())
OWN = FOUNDRY.certify(KEY)
EARLY = Maker("Late", FOUNDRY.root, since=datetime(2050, 1, 1, tzinfo=UTC))


@pytest.mark.req("CA-2")
@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({**GOOD, "signature": FOUNDRY.sign(describe(version=2))["signature"]}, "does not verify"),
        ({**GOOD, "payload": FOUNDRY.sign(describe(version=2))["payload"]}, "does not verify"),
        ({**GOOD, "signature": url(b"x" * 63)}, "63 bytes"),
        (OTHER.sign(OTHER.describe(KEY, ID)), "not pinned"),
        (FOUNDRY.sign(OTHER.describe(KEY, ID)), "nobody who is pinned"),
        (FOUNDRY.sign(describe(), protected={"alg": "none"}), "not signed with ES256"),
        (FOUNDRY.sign(describe(), protected={"alg": "HS256"}), "not signed with ES256"),
        (FOUNDRY.sign(describe(), protected={"crit": ["b64"], "b64": False}), "unknown field"),
        (FOUNDRY.sign(describe(), protected={"x5c": [b64(FOUNDRY.root.der)]}), "unknown field"),
        (FOUNDRY.sign(describe(), protected={"x5t#S256": None}), "missing required field"),
        (FOUNDRY.sign(describe(), header={"uniqueId": "00" * 9}), "the header names element"),
        (FOUNDRY.sign(describe(), header={"uniqueId": ID, "alg": "ES256"}), "unknown field"),
        (FOUNDRY.sign(describe(), more=1), "unknown field"),
        (FOUNDRY.sign(describe(uniqueId=ID.upper())), "uniqueId"),
        (FOUNDRY.sign(describe(keys=[])), "has 0 keys with a certificate"),
        (FOUNDRY.sign(describe(keys=[write_jwk(KEY, "0")])), "has 0 keys with a certificate"),
        (FOUNDRY.sign(describe(keys=describe()["publicKeySet"]["keys"] * 2)), "has 2 keys with a certificate"),
        (FOUNDRY.sign(describe(keys=[write_jwk(KEY, str(n)) for n in range(17)])), "length <= 16"),
        (FOUNDRY.sign(describe(keys=certified(OWN))), "nobody who is pinned"),
        (FOUNDRY.sign(describe(keys=certified(FOUNDRY.certify(make_key()), FOUNDRY.signer_ca.der))), "not the one"),
        (FOUNDRY.sign(describe(keys=certified(FOUNDRY.signer_ca.der))), "one of a CA"),
        (FOUNDRY.sign(describe(keys=certified(FOUNDRY.certify(KEY, EARLY), EARLY.der))), "is not valid at"),
        (FOUNDRY.sign(describe(keys=certified(OWN, FOUNDRY.signer_ca.der, crv="P-384"))), "not the one"),
        (FOUNDRY.sign(describe(keys=[{**write_jwk(KEY, "0"), "x5c": ["%%%"]}])), "not base64"),
        (FOUNDRY.sign(describe(keys=[{**write_jwk(KEY, "0"), "x5c": ["MIIB"]}])), "does not parse"),
        (FOUNDRY.sign(b'{"uniqueId":"00","uniqueId":"00"}'), "has a key twice"),
        (FOUNDRY.sign(b"[" * 20), "does not parse"),
        (FOUNDRY.sign(describe(part="x" * 40_000)), "the limit is"),
        ({}, "missing required field"),
        ("", "Expected `object`"),
        (None, "Expected `object`"),
    ],
)  # fmt: skip
def test_an_entry_that_is_not_what_its_signer_said(entry: Any, why: str) -> None:
    (bad,) = read(entry)
    assert bad.entry == 1
    assert why in bad.why


def test_an_element_or_a_key_that_comes_twice_is_bad_where_it_comes_again() -> None:
    twice, same_id, good = (
        FOUNDRY.describe(KEY, "bb" * 9),
        FOUNDRY.describe(make_key(), ID),
        FOUNDRY.describe(make_key(), "cc" * 9),
    )
    found = read(GOOD, FOUNDRY.sign(twice), FOUNDRY.sign(same_id), FOUNDRY.sign(good))
    assert [(item.entry, item.why.split()[0]) for item in found] == [(2, "key"), (3, "unique")]


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"\xff", b"[1.5]", json.dumps([1] * (ENTRIES_LIMIT + 1)).encode(), b" " * ((16 << 20) + 1)],
)
def test_a_file_that_is_none(data: bytes) -> None:
    keys, bad = read_manifest(data, FOUNDRY.pins, NOW)
    assert keys == {}
    assert [item.entry for item in bad] == [0]


@pytest.mark.parametrize("pins", [Pins((), FOUNDRY.pins.roots), Pins(FOUNDRY.pins.signers, ())])
def test_without_pins_nothing_is_believed(pins: Pins) -> None:
    assert "pins no signer" in read(GOOD, pins=pins)[0].why


def test_a_signer_that_ended_or_has_another_key_signs_nothing() -> None:
    late = read_manifest(json.dumps([GOOD]).encode(), FOUNDRY.pins, datetime(2100, 1, 1, tzinfo=UTC))[1]
    assert "is not valid now" in late[0].why
    ca = Foundry()
    ca.certificate, ca.signer = ca.root.certificate, ca.root.key  # type: ignore[assignment]  # a key of the same kind
    assert "not for signatures" in read(ca.sign(ca.describe(KEY, ID)), pins=ca.pins)[0].why


def test_only_keys_on_p256_sign_manifests_and_are_elements() -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    keys = [{**write_jwk(KEY, "0"), "x5c": [b64(FOUNDRY.certify(other)), b64(FOUNDRY.signer_ca.der)]}]
    assert "not on P-256" in read(FOUNDRY.sign(describe(keys=keys)))[0].why
    ca = Foundry()
    ca.certificate = Maker("Signer", key=other, digest=SHA384()).certificate
    assert "no key for ES256" in read(ca.sign(ca.describe(KEY, ID)), pins=ca.pins)[0].why


@given(st.binary(max_size=40))
def test_base64url_is_read(data: bytes) -> None:
    assert decode_url(url(data)) == data


@pytest.mark.parametrize("text", ["A", "AB", "AA==", "A+AA", "A A", "AA\n", "AAB"])
def test_base64url_has_one_spelling(text: str) -> None:
    with pytest.raises(ManifestRefused):
        decode_url(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
@pytest.mark.unmeasured
def test_any_json_is_read_or_refused(value: Any) -> None:
    read_manifest(json.dumps([value]).encode(), FOUNDRY.pins, NOW)
