"""Why a device refuses. The letter and number of each rule are those of the device rules."""

from pki.trust.errors import TrustError


class DeviceRefusal(TrustError):
    """A device keeps its state as it is; the leaves say why."""

    code = "device-refusal"


class SetMissing(DeviceRefusal):
    """No bank holds a valid trust set (A.2); only the golden image runs."""

    code = "trust-set-missing"


class SlotEmpty(DeviceRefusal):
    """A slot holds no image (A.4)."""

    code = "slot-empty"


class ImageDenied(DeviceRefusal):
    """The image is on the deny list (A.4)."""

    code = "image-denied"


class FloorNotMet(DeviceRefusal):
    """The image's security version is below the floor (A.4)."""

    code = "floor-not-met"


class TargetMismatch(DeviceRefusal):
    """Another fleet, vendor, class, hardware revision, device, site or region (A.4, C.2)."""

    code = "target-mismatch"


class BootloaderMismatch(DeviceRefusal):
    """The bootloader's version is outside the range (A.4, C.2)."""

    code = "bootloader-mismatch"


class ChainDetached(DeviceRefusal):
    """The first new set of a chain follows none of the stored sets (B.3)."""

    code = "set-chain-detached"


class SetOutranked(DeviceRefusal):
    """A chain ends below or beside the newest stored set (B.4)."""

    code = "set-outranked"


class BankPinned(DeviceRefusal):
    """A slot depends on the only bank that could be written: refused for now (B.9, the pin rule)."""

    code = "bank-pinned"


class WriteFailed(DeviceRefusal):
    """What was written does not read back (B.10)."""

    code = "write-failed"


class CounterUnreachable(DeviceRefusal):
    """The hardware counter cannot reach the value and keep its reserve (C.4, E.5)."""

    code = "counter-unreachable"


class SequenceStale(DeviceRefusal):
    """The sequence is not above the last one (C.2, E.1)."""

    code = "sequence-stale"


class DependencyUnmet(DeviceRefusal):
    """Another component that the manifest needs is not there (C.2)."""

    code = "dependency-unmet"


class ConditionUnmet(DeviceRefusal):
    """The apply policy waits for a window, open contactors or more charge (C.5)."""

    code = "condition-unmet"


class AuthorizationMissing(DeviceRefusal):
    """The site has not authorised this installation (C.3)."""

    code = "authorization-missing"


class ImageMismatch(DeviceRefusal):
    """The image is not the one that the manifest describes (C.6)."""

    code = "manifest-image-mismatch"


class NotConfirmed(DeviceRefusal):
    """The running image is on trial, or none of the two slots runs (C.6, D.1, E.3)."""

    code = "image-not-confirmed"


class FallbackNotNeeded(DeviceRefusal):
    """The other slot verifies under the newest set already (D.2)."""

    code = "fallback-not-needed"


class FallbackMissing(DeviceRefusal):
    """The other slot does not verify under the newest set (D.2)."""

    code = "fallback-missing"


class SelfTestFailed(DeviceRefusal):
    """The running image's self-test did not pass (D.1)."""

    code = "self-test-failed"


class FloorFromExceeded(DeviceRefusal):
    """The floor is above what the counter update starts from (E.2)."""

    code = "floor-from-exceeded"


class SlotsUnready(DeviceRefusal):
    """Too few confirmed slots satisfy the new floor, or the running one does not (E.3)."""

    code = "slots-unready"


class SoakUnmet(DeviceRefusal):
    """The confirmed image has not run long enough (E.4)."""

    code = "soak-unmet"
