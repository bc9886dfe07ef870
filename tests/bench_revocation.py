"""A million revoked certificates as 64 lists: size and time of one, and of all. Pure: rows to signed list, no database.

By hand, without the rest of the benchmark: `python -m tests.bench_revocation`.
"""

import json
import os
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from ceremonies.crls import entry_of
from ceremonies.revoked import PARTITIONS, RevokedRow, tally_rows, write_number
from pki.x509.crls import CrlTerms, draft_crl
from pki.x509.reasons import REASONS
from pki.x509.revocation import verify_origin
from tests.pki.x509.soft_keys import make_hierarchy

REVOKED = 1_000_000
MEASURED = int(os.environ.get("KEDGE_BENCH_PARTITIONS", "8"))
"""How many of the 64 lists are made; they are alike, and the time for all follows."""
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def make_rows(partition: int, count: int) -> list[RevokedRow]:
    """Revocations of three years in one partition, as rows."""
    draw = random.Random(partition)
    reasons = sorted(REASONS)
    numbers = sorted((partition << 153) + draw.getrandbits(153) for _ in range(count))
    end = int(NOW.timestamp()) * 1_000_000
    return [
        RevokedRow(write_number(number), draw.choice(reasons), end - draw.randrange(3 * 365 * 86_400) * 1_000_000, at)
        for at, number in enumerate(numbers)
    ]


def measure_million(results: dict[str, dict[str, Any]]) -> None:
    """Compare the rows with a tally, draft and lint the list, sign it with a soft key, verify it as the door does."""
    hierarchy = make_hierarchy()
    issuer, terms = hierarchy.device_ca, CrlTerms(417, NOW, NOW + timedelta(days=1), "http://crl.example/00.crl")
    times, sizes = [], []
    for partition in range(MEASURED):
        rows = make_rows(partition, REVOKED // PARTITIONS)
        started = time.perf_counter()
        tally_rows(issuer.spki, rows)
        der = hierarchy.device_key.finish(draft_crl(issuer, [entry_of(row) for row in rows], terms))
        verify_origin(der, issuer)
        times.append(time.perf_counter() - started)
        sizes.append(len(der))
    each = sum(times) / len(times)
    results["crl_million_partition_kb"] = {"value": round(max(sizes) / 1000), "unit": "kB"}
    results["crl_million_build_s"] = {
        "value": round(each * PARTITIONS, 1),
        "unit": "s for all 64",
        "seconds_each": round(each, 3),
        "seconds_slowest": round(max(times), 3),
    }
    print(
        f"a million revoked: {max(sizes) / 1000:,.0f} kB a list, {each:.2f} s each, {each * PARTITIONS:.0f} s for all"
    )


if __name__ == "__main__":
    found: dict[str, dict[str, Any]] = {}
    measure_million(found)
    print(json.dumps(found, indent=1))
