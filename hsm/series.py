"""A series of signatures: asked for together, waited for when they are needed."""

from collections.abc import Sequence
from typing import Protocol

from hsm.circuit import PlaceReport
from hsm.inventory import TokenInventory
from hsm.keys import GeneratedKey, KeyName
from hsm.signed import Item, Signed


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


class Calm:
    """A box without circuits: it is always asked, and tells."""

    @property
    def reports(self) -> tuple[PlaceReport, ...]:
        """No place has a circuit."""
        return ()

    def check_ready(self, token: str) -> None:
        """Nothing rests."""

    def tend(self, probes: Sequence[KeyName]) -> None:
        """Nothing is probed."""


class Box(Protocol):
    """What `hsm.vault.Vault` does, here or in another process; or a strongbox with one module."""

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

    def read_memos(self, token: str, label: str) -> tuple[bytes, ...]:
        """See Strongbox.read_memos."""

    def write_memo(self, token: str, label: str, data: bytes) -> int:
        """See Strongbox.write_memo."""

    def inventory(self) -> tuple[TokenInventory, ...]:
        """See Strongbox.inventory."""

    def random(self, count: int) -> bytes:
        """See Strongbox.random."""

    def token_serial(self, label: str) -> str:
        """See Strongbox.token_serial."""

    @property
    def is_software(self) -> bool:
        """See Strongbox.is_software."""

    @property
    def stopped(self) -> tuple[tuple[bytes, str], ...]:
        """See Strongbox.stopped. From any thread."""

    @property
    def reports(self) -> tuple[PlaceReport, ...]:
        """See Vault.reports. From any thread."""

    def check_ready(self, token: str) -> None:
        """See Vault.check_ready. It asks no token and no other process."""

    def tend(self, probes: Sequence[KeyName]) -> None:
        """See Vault.tend."""

    def close(self) -> None:
        """See Strongbox.close."""
