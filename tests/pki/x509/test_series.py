"""A spliced certificate is, byte for byte, the one that cryptography's builder makes."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from pki.names import DeviceSubject, read_serial_number
from pki.x509.builders import key_identifier, rehearse
from pki.x509.certificates import draft_certificate
from pki.x509.errors import AssemblyFailed
from pki.x509.profiles import IDEVID
from pki.x509.series import read_series, write_time
from pki.x509.tbs import read_time
from pki.x509.terms import Terms
from tests.pki.x509.soft_keys import SoftKey, make_hierarchy, make_subject, make_terms

ISSUER = make_hierarchy().device_ca
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


def test_a_rehearsal_without_the_identifier_makes_no_series() -> None:
    key = SoftKey(ec.derive_private_key(9, ec.SECP256R1()))
    tbs = draft_certificate(IDEVID, make_subject(), key.public_key, ISSUER, make_terms()).payload
    assert read_series(tbs, key_identifier(key.public_key)).names
    with pytest.raises(AssemblyFailed):
        read_series(tbs, bytes(20))
