"""Paths of makers' certificates: only a signature by somebody who is pinned counts."""

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from pki.elements.errors import PathRefused
from pki.elements.paths import LONGEST, read_one, read_pins, verify_path
from tests.makers import NOW, Maker, endorse, make_key, usage

ROOT = Maker("Root")
MIDDLE = Maker("Middle", ROOT, path_length=0)
KEY = make_key().public_key()
LEAF = read_one(endorse(MIDDLE, KEY))


def verify(maker: Maker, others: list[Maker], pins: list[Maker], **changed: Any) -> None:
    leaf = read_one(endorse(maker, KEY, **changed))
    verify_path(leaf, [item.certificate for item in others], [item.certificate for item in pins], NOW)


def test_a_path_leads_to_a_pin_and_the_pin_itself_may_be_sent() -> None:
    verify_path(LEAF, [MIDDLE.certificate], [ROOT.certificate], NOW)
    verify_path(LEAF, [ROOT.certificate, MIDDLE.certificate], [Maker("Other").certificate, ROOT.certificate], NOW)
    verify_path(LEAF, [], [MIDDLE.certificate], NOW)


def test_makers_sign_with_rsa_too() -> None:
    root = Maker("RSA Root", key=rsa.generate_private_key(65537, 2048))
    verify(root, [], [root], digest=hashes.SHA384())
    weak = Maker("Weak", key=rsa.generate_private_key(65537, 1024))
    with pytest.raises(PathRefused, match="nobody who is pinned"):
        verify(weak, [], [weak])


CA = (x509.BasicConstraints(ca=True, path_length=None), True)
SIGNS = (usage("key_cert_sign"), True)
NAMED = (x509.NameConstraints([x509.DirectoryName(ROOT.name)], None), False)
ODD = (x509.UnrecognizedExtension(ObjectIdentifier("1.2.3"), b"0"), True)
SERVERS = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
END = datetime(2026, 1, 1, tzinfo=UTC)
FORGED = Maker("Root")  # the name of ROOT, another key
FORGED_MIDDLE = Maker("Middle", FORGED)
BELOW = Maker("Below", MIDDLE)
STRAY = Maker("Stray")


@pytest.mark.req("CA-2")
@pytest.mark.parametrize(
    ("maker", "others", "pins"),
    [
        (MIDDLE, [MIDDLE], []),
        (MIDDLE, [], [ROOT]),
        (FORGED, [], [ROOT]),
        (FORGED, [FORGED], [ROOT]),
        (FORGED_MIDDLE, [MIDDLE], [ROOT]),
        (FORGED_MIDDLE, [FORGED_MIDDLE], [ROOT]),
    ],
)
def test_a_path_that_leads_to_nobody_who_is_pinned(maker: Maker, others: list[Maker], pins: list[Maker]) -> None:
    with pytest.raises(PathRefused, match="nobody who is pinned"):
        verify(maker, others, pins)


@pytest.mark.req("CA-2")
@pytest.mark.parametrize(
    ("maker", "why"),
    [
        (Maker("Old", ROOT, until=END), "is not valid at"),
        (Maker("No CA", ROOT, extensions=[SIGNS]), "is no CA"),
        (Maker("No usage", ROOT, extensions=[CA]), "is no CA"),
        (Maker("Named", ROOT, extensions=[CA, SIGNS, NAMED]), "name constraints"),
        (Maker("Odd", ROOT, extensions=[CA, SIGNS, ODD]), "critical extension 1.2.3"),
        (Maker("TLS", ROOT, extensions=[CA, SIGNS, SERVERS]), "key purpose"),
    ],
)
def test_an_issuer_that_may_not_issue_this(maker: Maker, why: str) -> None:
    with pytest.raises(PathRefused, match=why):
        verify(maker, [maker], [ROOT])


def test_what_else_is_no_path() -> None:
    with pytest.raises(PathRefused, match="which allows 0"):
        verify(BELOW, [BELOW, MIDDLE], [ROOT])
    with pytest.raises(PathRefused, match="do not belong"):
        verify(MIDDLE, [MIDDLE, STRAY], [ROOT])
    with pytest.raises(PathRefused, match="is not valid at"):
        verify(MIDDLE, [MIDDLE], [ROOT], until=END)
    with pytest.raises(PathRefused, match="nobody who is pinned"):
        verify(MIDDLE, [MIDDLE], [ROOT], digest=hashes.SHA3_256())


def test_a_path_is_short() -> None:
    with pytest.raises(PathRefused, match="at most"):
        verify(MIDDLE, [MIDDLE] * (LONGEST + 1), [ROOT])


@pytest.mark.parametrize("data", [b"", b"0", b"-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate(data: bytes) -> None:
    with pytest.raises(PathRefused, match="does not parse"):
        read_one(data)
    with pytest.raises(PathRefused, match="does not parse"):
        read_one(endorse(ROOT, KEY) + b"\0" * 8)
    with pytest.raises(PathRefused, match="does not parse"):  # a version that there is not
        read_one(endorse(ROOT, KEY).replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020169"), 1))


def test_pins_are_pem() -> None:
    assert read_pins([ROOT.pem]) == (ROOT.certificate,)
    with pytest.raises(PathRefused):
        read_pins(["no certificate"])


def test_a_key_on_another_curve_signs_as_well() -> None:
    root = Maker("P-384", key=ec.generate_private_key(ec.SECP384R1()))
    verify(root, [], [root], digest=hashes.SHA384())
