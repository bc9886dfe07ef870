"""A spliced certificate is, byte for byte, the one that cryptography's builder makes."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from pki.names import DeviceSubject, ModuleSubject, SerialNumber, read_serial_number
from pki.x509.builders import key_identifier, rehearse
from pki.x509.certificates import draft_certificate
from pki.x509.errors import AssemblyFailed
from pki.x509.profiles import IDEVID
from pki.x509.series import FIRST_SERIAL, read_series, write_time
from pki.x509.tbs import read_time
from pki.x509.terms import Terms
from tests.pki.x509.soft_keys import SoftKey, make_hierarchy, make_key, make_subject, make_terms
from tests.pki.x509.soft_profiles import CRL_URL, HW_TYPE, make_examples

ISSUER = make_hierarchy().device_ca
EXAMPLES = make_examples()
serials = st.from_regex(r"\A[A-Z0-9]([A-Z0-9.-]{0,30}[A-Z0-9])?\Z")


@given(
    serials,
    st.integers(1 << 64, (1 << 159) - 1),
    st.integers(0, 20 * 365),
    st.integers(1, 1 << 200),
    st.sampled_from(["Acme", "Wärmespeicher GmbH"]),
)
def test_spliced_and_built_are_the_same(serial: str, number: int, day: int, secret: int, organization: str) -> None:
    public_key = SoftKey(ec.derive_private_key(secret, ec.SECP256R1())).public_key
    subject = DeviceSubject(organization, "bms-stm32h7", read_serial_number(serial))
    terms = Terms(number, ISSUER.not_before + timedelta(days=day))
    built = rehearse(IDEVID, subject, public_key, ISSUER, terms)
    assert draft_certificate(IDEVID, subject, public_key, ISSUER, terms).payload == built


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001
def test_times_read_back(time: datetime) -> None:
    whole = time.replace(microsecond=0, tzinfo=UTC)
    assert read_time(write_time(whole)) == whole


@given(
    serials,
    st.integers(1 << 64, (1 << 159) - 1),
    st.integers(1, 1 << 200),
    st.sampled_from(["idevid", "ieee2030-5-device", "ldevid"]),
    st.sampled_from(["", CRL_URL]),
    st.booleans(),
)
def test_every_device_profile_with_and_without_a_crl(
    serial: str, number: int, secret: int, name: str, url: str, test_root: bool
) -> None:
    example = EXAMPLES[name].below(crl_url=url, test_root=test_root)
    public_key = SoftKey(ec.derive_private_key(secret, ec.SECP256R1())).public_key
    subject = msgspec.structs.replace(example.subject, serial_number=serial)
    terms = msgspec.structs.replace(example.terms, serial_number=number)
    built = rehearse(example.profile, subject, public_key, example.issuer, terms)
    drafted = draft_certificate(example.profile, subject, public_key, example.issuer, terms)
    assert drafted.payload == built
    assert serial.encode() in built
    assert (f"{CRL_URL}/{number >> 153:02x}.crl".encode() in built) == bool(url)


def test_two_models_are_two_series() -> None:
    example = EXAMPLES["ieee2030-5-device"]
    key = make_key().public_key
    for hw_type in ("1.3.6.1.4.1.32473.1", "1.3.6.1.4.1.32473.2", "2.999.1"):
        subject = ModuleSubject(hw_type, SerialNumber("SN-1"))
        drafted = draft_certificate(example.profile, subject, key, example.issuer, example.terms)
        assert drafted.payload == rehearse(example.profile, subject, key, example.issuer, example.terms)


def test_a_rehearsal_without_the_identifier_makes_no_series() -> None:
    key = SoftKey(ec.derive_private_key(9, ec.SECP256R1()))
    tbs = draft_certificate(IDEVID, make_subject(), key.public_key, ISSUER, make_terms()).payload
    assert read_series(tbs, key_identifier(key.public_key)).names
    with pytest.raises(AssemblyFailed, match="identifier"):
        read_series(tbs, bytes(20))
    with pytest.raises(AssemblyFailed, match="module name"):
        read_series(tbs, key_identifier(key.public_key), "1.3.6.1.4.1.32473.1")
    with pytest.raises(AssemblyFailed, match="partition"):
        read_series(tbs, key_identifier(key.public_key), "", crl=True)
    example = EXAMPLES["ieee2030-5-device"]
    first = msgspec.structs.replace(example.subject, serial_number=FIRST_SERIAL)
    tbs = rehearse(example.profile, first, key.public_key, example.issuer, example.terms)
    assert read_series(tbs, key_identifier(key.public_key), HW_TYPE).hw_type
    with pytest.raises(AssemblyFailed, match="serial number"):
        read_series(tbs, key_identifier(key.public_key))
