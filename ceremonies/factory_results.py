"""What the keyroom answers to stations, and about them."""

from msgspec import Struct

from ceremonies.outcomes import Problem, Proven
from ceremonies.tallies import DeviceConfirmed


class DeviceIssued(Struct, frozen=True, tag="device-issued"):
    """`certificate` and `chain` (device CA or site CA, identity root) are PEM. `trust_set` is the newest set's payload
    digest; None, as what belongs to the factory, for an LDevID.

    `nonce`: what the unit signs with its confirmation, in hex (the leaf hash of the entry); empty for an LDevID.
    lfdi, sfdi: how IEEE 2030.5 names the device, as 40 hex digits and 12 decimal ones; empty for other profiles.
    """

    serial: str
    certificate: bytes
    chain: bytes
    ueid: str
    replayed: bool
    proven: Proven
    trust_set: str | None
    birth_package: str | None
    nonce: str
    lfdi: str = ""
    sfdi: str = ""


class DevicesIssued(Struct, frozen=True, tag="devices-issued"):
    """One answer for each item of a batch, in order."""

    answers: tuple[DeviceIssued | Problem, ...]


class DevicesConfirmed(Struct, frozen=True, tag="devices-confirmed"):
    """One answer for each item of a batch, in order."""

    answers: tuple[DeviceConfirmed | Problem, ...]


class StationIssued(Struct, frozen=True, tag="station-issued"):
    """A station's TLS client certificate, and its chain (service CA, identity root), PEM."""

    station: str
    certificate: bytes
    chain: bytes
    replayed: bool
    proven: Proven


class StationShown(Struct, frozen=True):
    """A station: where it stands, its key, its state (`enrolled`, `suspended`, `revoked`), the end of its certificate.

    One that comes with tokens is shown while it is suspended, by its pseudonym alone.
    """

    station: str
    state: str
    plant: str = ""
    lines: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    key: str = ""
    not_after: str = ""


class StationsListed(Struct, frozen=True, tag="stations-listed"):
    """All stations."""

    stations: tuple[StationShown, ...]


class CmpAnswered(Struct, frozen=True, tag="cmp-answered"):
    """A PKIMessage (DER), signed by the responder's key."""

    response: bytes
