"""What an examination of a token finds: one value per check, graded; and times as figures."""

from enum import IntEnum
from typing import Any

import msgspec


class Grade(IntEnum):
    """How a check ended; the values are exit statuses of `kedge doctor`."""

    WELL = 0
    WARNING = 1  # it works, with a limit that a person should know
    FAILING = 2  # Kedge cannot be used like this
    UNKNOWN = 3  # the check could not be made


class Finding(msgspec.Struct, frozen=True):
    """A check by name, its grade, what was found in a sentence, and the figures behind it."""

    check: str
    grade: Grade
    said: str
    figures: dict[str, Any] = {}


def measure(samples_us: list[int]) -> dict[str, float]:
    """Count, median and 99th percentile (the nearest sample from above) of times in microseconds."""
    ordered = sorted(samples_us)
    if not ordered:
        return {"count": 0}
    p99 = ordered[min(len(ordered) - 1, (99 * len(ordered)) // 100)]
    return {"count": len(ordered), "p50_us": ordered[len(ordered) // 2], "p99_us": p99}
