"""Thresholds: how many of which keys signed, as a value; `require` is the one place that refuses."""

import msgspec

from pki.trust.errors import ThresholdNotMet


class Threshold(msgspec.Struct, frozen=True):
    """Who had to sign, and who did. `whose` names the keys, `members` and `signed` are kids."""

    whose: str
    needed: int
    members: frozenset[bytes]
    signed: frozenset[bytes]

    @property
    def missing(self) -> int:
        """How many distinct signatures of members are still wanted. 0 when met; never 0 for an empty group."""
        return max(0, max(1, self.needed) - len(self.members & self.signed))


def require(*thresholds: Threshold) -> None:
    """Raises ThresholdNotMet, naming every threshold that is not met, and when there is none at all."""
    unmet = [threshold for threshold in thresholds if threshold.missing]
    if unmet or not thresholds:
        lacking = "; ".join(f"{t.whose}: {t.missing} of {t.needed} signatures are missing" for t in unmet)
        raise ThresholdNotMet(lacking or "no threshold applies", hint="collect signatures of further distinct keys")
