"""Devices that ask for an LDevID: whether they may have one, from which CA, and what they have."""

from typing import Final

import msgspec

from ceremonies.devices import DeviceRevoked
from ceremonies.errors import DeviceUnknown, KeyroomError
from ceremonies.fleet_tables import RegisterRow
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.ldevids import Ldevid
from ceremonies.owned import find_ldevid
from ceremonies.registered import read_row
from ceremonies.revocations import is_ended
from ceremonies.rework import is_confirmed, read_present
from ceremonies.room import Room
from ceremonies.sites import SiteAuthority, find_authority, find_label
from ceremonies.standing import UnitScrapped
from ceremonies.store import Row
from ceremonies.tables import DeviceRow
from ceremonies.whereabouts import Whereabouts, read_facts
from pki.x509.intake import Place
from pki.x509.profiles import LDEVID

LIFE_S: Final = 365 * 86_400
"""How long an LDevID lives; its profile allows three years."""
RETRY_S: Final = 600
"""When a device shall ask again whose installation nobody has stated."""


class EnrolmentPending(KeyroomError):
    """Nobody has stated yet where the device is installed. No refusal: the same request is sent again."""

    code = "enrolment-pending"


class UnitUnconfirmed(KeyroomError):
    """The unit never showed that it has its IDevID."""

    code = "unit-unconfirmed"


class DeviceOutOfService(KeyroomError):
    """The device was replaced or decommissioned."""

    code = "device-out-of-service"


class SiteMismatch(KeyroomError):
    """The device is installed at another site than the CA is for."""

    code = "site-mismatch"


class Applicant(msgspec.Struct, frozen=True):
    """A device that may have an LDevID: its row, the CA, the LDevID that it has (None: none yet). protected: its class
    demands that its keys live in hardware.
    """

    device: Row
    authority: SiteAuthority
    held: Ldevid | None
    protected: bool

    @property
    def place(self) -> Place:
        """What the certificate says beside the device's serial and key."""
        authority = self.authority
        return Place(
            LDEVID.name, authority.organization, self.device["class_name"], authority.issuer,
            site=authority.site, life_s=LIFE_S,
        )  # fmt: skip

    def name_request(self, spki: str) -> str:
        """The idempotency key: one LDevID follows another, for one key, by one CA."""
        after = self.held.seq if self.held else 0
        return f"ldevid/{self.device['serial']}:{after}:{self.authority.issuer.spki[:16]}:{spki[:32]}"


def find_applicant(room: Room, label: str, serial: str) -> Applicant:
    """A device that may have an LDevID from the CA of this label now. Writer's thread.

    Raises AuthorityUnknown, UnitUnconfirmed, UnitScrapped, DeviceOutOfService, EnrolmentPending, SiteMismatch,
    DeviceRevoked, JournalForked.
    """
    authority, device = find_authority(room, label), room.store.find(DeviceRow, serial=serial)
    if device is None:
        raise DeviceUnknown(f"no device {serial} was issued here", hint="check the serial")
    if serial in room.ledger.replay.units.scrapped:
        raise UnitScrapped(f"unit {serial} was scrapped", hint="quarantine the unit")
    if is_ended(room, read_present(room, device)[0]):
        raise DeviceRevoked(f"the IDevID of {serial} was revoked", hint="ask officers why")
    if not is_confirmed(room, device):
        raise UnitUnconfirmed(f"unit {serial} was never confirmed", hint="the line confirms it (docs/factory.md)")
    where = find_place(room, serial)
    if where.state in ("replaced", "decommissioned"):
        raise DeviceOutOfService(f"{serial} is {where.state}", hint="ask the operator of the site")
    if where.state != "installed":
        raise EnrolmentPending(
            f"{serial} is {where.state}: nobody has stated where it is installed",
            hint="send the same request again; the operator of the site states it (`kedge fleet install`)",
            details={"retry_after": RETRY_S},
        )
    if where.site != authority.site:
        mine = find_label(room, where.site)
        raise SiteMismatch(
            f"{label} issues for {authority.site}, {serial} is installed at {where.site}",
            hint=f"ask under the label {mine}" if mine else "officers make a CA for that site (ceremony `site-ca`)",
            details={"authority": mine} if mine else {},
        )
    device_class = room.door.require_governing().policy.fleet.device_class(device["class_name"])
    return Applicant(device, authority, find_ldevid(room, serial), bool(device_class.key_protection))


def find_place(room: Room, serial: str) -> Whereabouts:
    """Where a device is by its last statement. Writer's thread. Raises JournalForked when its entry says otherwise."""
    row, newest = room.store.find(RegisterRow, serial=serial), room.ledger.replay.register.left.get(serial)
    if row is None and newest is None:
        return Whereabouts(serial, "issued")
    if row is None or newest not in (None, row["seq"]):
        raise JournalForked(f"register of {serial}: its row is not the newest that the journal says", hint=RESTORE)
    _, leaf = room.ledger.read_entry(row["seq"])
    what = (leaf.op and leaf.op.what) or {}
    if not leaf.type.startswith("device.") or what.get("serial") != serial or read_facts(what) != read_row(row):
        raise JournalForked(f"register of {serial}: its row is not what the journal says", hint=RESTORE)
    return read_row(row)
