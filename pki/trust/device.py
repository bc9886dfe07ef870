"""The device: what it does with what Kedge sends it, as a pure model of the device rules.

The parts of the rules live in `device_boot` (A), `device_receive` (B), `device_install` (C), `device_commit` (D),
`device_floors` (E) and `device_report` (F), with the same numbers. The service runs them on its own output before it
signs (`rehearsal`), the simulator with power cuts, and device makers port them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pki.errors import PkiError
from pki.trust.counters import CounterUpdate
from pki.trust.denials import DenyList
from pki.trust.device_boot import boot
from pki.trust.device_commit import commit, confirm
from pki.trust.device_conditions import Conditions
from pki.trust.device_errors import TargetMismatch
from pki.trust.device_floors import update_counters
from pki.trust.device_install import install
from pki.trust.device_memory import Hardware, Memory, Slot, Store, blank, keep
from pki.trust.device_profile import ClassProfile, Identity
from pki.trust.device_receive import receive_denials, receive_sets
from pki.trust.device_report import report
from pki.trust.device_view import View, store_set, view
from pki.trust.links import verify_genesis
from pki.trust.manifests import FirmwareManifest
from pki.trust.receipts import ReceiptClaims
from pki.trust.sets import TrustSet

LOG_SIZE = 256


class Device:
    """A device with its memory. Every operation does its work or raises a PkiError leaf and leaves memory as it was;
    a refusal is noted in `log` by operation and code.

    `memory` is a value: keep it to go back, give it to another Device to fork. `store` sees every write and may raise
    to cut the power; `boot` is what comes after that.
    """

    def __init__(self, profile: ClassProfile, identity: Identity, memory: Memory, store: Store = keep) -> None:
        self.hardware = Hardware(profile, identity, memory, store)
        self.log: list[tuple[str, str]] = []

    @classmethod
    def birth(
        cls, profile: ClassProfile, identity: Identity, genesis: bytes, *, image: bytes = b"", manifest: bytes = b""
    ) -> "Device":
        """A device as it leaves the factory: the genesis set of its birth package, and an image or an empty slot.

        Raises TargetMismatch when the set's hash is not the identity's, or what `verify_genesis` raises.
        """
        if verify_genesis(genesis).payload_sha256 != identity.genesis:
            raise TargetMismatch("genesis set is not the one of the birth package")
        device = cls(profile, identity, blank(profile))
        store_set(device.hardware, 0, genesis)
        if image:
            device.hardware.write_slot(0, Slot(image, manifest, confirmed=True))
        device.boot()
        return device

    @property
    def memory(self) -> Memory:
        """The non-volatile state."""
        return self.hardware.memory

    @property
    def running(self) -> int | None:
        """Slot 0 or 1, or GOLDEN; None before the first boot."""
        return self.hardware.running

    @property
    def view(self) -> View:
        """What the device derives from its memory."""
        return view(self.hardware)

    def boot(self) -> int:
        """Part A. Returns the slot that runs, 0 or 1, or GOLDEN. Never refuses."""
        return boot(self.hardware)

    def run(self, seconds: int) -> None:
        """Let the running image run: uptime for the soak of E.4."""
        self.hardware.uptime += seconds

    def receive_sets(self, messages: Sequence[bytes]) -> TrustSet:
        """Part B. Returns the newest set that the device then holds."""
        with self._logged("receive-sets"):
            return receive_sets(self.hardware, messages)

    def receive_denials(self, message: bytes) -> DenyList:
        """Store a deny list for A.4."""
        with self._logged("receive-denials"):
            return receive_denials(self.hardware, message)

    def install(
        self, manifest: bytes, image: bytes, *, fallback: bool = False, conditions: Conditions | None = None
    ) -> FirmwareManifest:
        """Part C: an image to try at the next boot or, as `fallback`, the second slot of D.2."""
        with self._logged("install"):
            return install(self.hardware, manifest, image, fallback=fallback, conditions=conditions)

    def confirm(self, *, self_test: bool = True) -> None:
        """D.1: keep the running image."""
        with self._logged("confirm"):
            confirm(self.hardware, self_test=self_test)

    def commit(self) -> TrustSet:
        """Part D: leave every set before the newest behind."""
        with self._logged("commit"):
            return commit(self.hardware)

    def counter_update(self, message: bytes) -> CounterUpdate:
        """Part E: raise floors."""
        with self._logged("counter-update"):
            return update_counters(self.hardware, message)

    def receipt(self, challenge: bytes) -> ReceiptClaims:
        """Part F: claims for the identity key to sign (`pki.trust.receipts.draft_receipt`)."""
        with self._logged("receipt"):
            return report(self.hardware, challenge)

    @contextmanager
    def _logged(self, operation: str) -> Iterator[None]:
        try:
            yield
        except PkiError as refusal:
            self.log = [*self.log[1 - LOG_SIZE :], (operation, refusal.code)]
            raise
