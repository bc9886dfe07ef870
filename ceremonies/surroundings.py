"""What the keyroom takes from the world: clocks, randomness, the machine. Made by the composition root, or a test."""

from collections.abc import Callable

import msgspec


class Surroundings(msgspec.Struct, frozen=True):
    """Sources of time and randomness.

    now_us: wall clock, microseconds since 1970, UTC. mono_us: monotonic microseconds. entropy: n random bytes.
    boot: the machine's boot id. software: SHA-256 over the installed packages (docs/architecture.md).
    """

    now_us: Callable[[], int]
    mono_us: Callable[[], int]
    entropy: Callable[[int], bytes]
    boot: str
    software: str

    def identifiers(self, now_us: int, count: int) -> list[str]:
        """UUIDv7s (RFC 9562 section 5.7): milliseconds, then 74 random bits."""
        bits = self.entropy(10 * count)
        return [_format_uuid7(now_us // 1000, bits[at : at + 10]) for at in range(0, len(bits), 10)]


def _format_uuid7(ms: int, bits: bytes) -> str:
    value = ms << 80 | int.from_bytes(bits, "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
