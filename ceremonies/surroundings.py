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

    def identifier(self, now_us: int) -> str:
        """A UUIDv7 (RFC 9562 section 5.7): milliseconds, then 74 random bits."""
        value = (now_us // 1000) << 80 | int.from_bytes(self.entropy(10), "big")
        value = value & ~(0xF << 76) | 0x7 << 76
        value = value & ~(0x3 << 62) | 0x2 << 62
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
