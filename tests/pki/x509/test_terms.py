"""Numbers and validities that no certificate may have."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pki.x509.errors import CertificateNumberRefused, ValidityRefused
from pki.x509.terms import NEVER, Terms, partition_of

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NUMBER = 1 << 100


@pytest.mark.req("CA-3")
@pytest.mark.parametrize("number", [-1, 0, 1, (1 << 64) - 1, 1 << 159, 1 << 200])
def test_certificate_numbers_out_of_range(number: int) -> None:
    with pytest.raises(CertificateNumberRefused):
        Terms(number, BEGIN)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (BEGIN.replace(tzinfo=None), None),
        (BEGIN.astimezone(timezone(timedelta(hours=1))), None),
        (BEGIN.replace(microsecond=1), None),
        (BEGIN, BEGIN),
        (BEGIN, BEGIN - timedelta(days=1)),
        (BEGIN, (BEGIN + timedelta(days=1)).replace(tzinfo=None)),
        (NEVER, None),
    ],
)
def test_validities_refused(begin: datetime, end: datetime | None) -> None:
    with pytest.raises(ValidityRefused):
        Terms(NUMBER, begin, end)


@pytest.mark.parametrize(
    ("number", "partition"),
    [(1 << 64, "00"), ((1 << 153) - 1, "00"), (1 << 153, "01"), ((1 << 158) + 5, "20"), ((1 << 159) - 1, "3f")],
)
def test_the_partition_is_in_the_number(number: int, partition: str) -> None:
    assert partition_of(number) == partition
