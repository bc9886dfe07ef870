"""A series of signatures: asked for together, waited for when they are needed."""

from collections.abc import Sequence
from typing import Protocol

from hsm.inventory import TokenInventory
from hsm.keys import GeneratedKey, KeyName, Signed

Item = tuple[KeyName, bytes]


class Series(Protocol):
    """Signatures that are made, or under way."""

    def wait(self) -> Sequence[Signed]:
        """All results, in the order of the items."""


class Made:
    """Signatures that were made at once, by the caller's own thread."""

    def __init__(self, signed: Sequence[Signed]) -> None:
        self._signed = signed

    def wait(self) -> Sequence[Signed]:
        """All results, in the order of the items."""
        return self._signed


class Box(Protocol):
    """What `hsm.strongbox.Strongbox` does, here or in another process."""

    def generate(self, token: str, key_id: bytes, label: str, algorithm: str) -> GeneratedKey:
        """See Strongbox.generate."""

    def sign(self, key: KeyName, data: bytes) -> bytes:
        """See Strongbox.sign."""

    def start(self, items: Sequence[Item]) -> Series:
        """See Strongbox.start."""

    def destroy(self, token: str, key_id: bytes) -> bool:
        """See Strongbox.destroy."""

    def exists(self, token: str, key_id: bytes) -> bool:
        """See Strongbox.exists."""

    def inventory(self) -> tuple[TokenInventory, ...]:
        """See Strongbox.inventory."""

    def random(self, count: int) -> bytes:
        """See Strongbox.random."""

    def token_serial(self, label: str) -> str:
        """See Strongbox.token_serial."""

    @property
    def is_software(self) -> bool:
        """See Strongbox.is_software."""

    def close(self) -> None:
        """See Strongbox.close."""
