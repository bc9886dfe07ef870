"""What there is of site boxes and grants; and certificates that were seen, compared with the boxes' journals."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from ceremonies import entries
from ceremonies.commands import (
    BoxShown,
    Command,
    FindStrays,
    GrantShown,
    GrantsListed,
    ListGrants,
    SettleBox,
    StraysFound,
    StrayVerdict,
)
from ceremonies.desk import Caller, Handler
from ceremonies.grant_tables import BoxCertificateRow
from ceremonies.granted import STRAY, Box, Grant
from ceremonies.grants import load_plant_ca
from ceremonies.revoked import write_number
from ceremonies.room import Room
from ceremonies.settlements import Settlements, load_state
from pki.errors import PkiError
from pki.signatures import der_to_raw, verify_raw
from pki.x509.issuers import Issuer
from pki.x509.pem import is_pem, read_pem, write_pem
from pki.x509.tbs import read_tbs, read_time, split_signed


class Sightings:
    """Reads, but for an entry about each certificate that should not exist."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def list(self, command: ListGrants, caller: Caller) -> GrantsListed:
        """Boxes and grants, as the journal has them."""
        return await self._room.act(self._list)

    def _list(self) -> GrantsListed:
        grants = self._room.ledger.replay.grants
        if grants.centre is not None:
            held = [show_grant(item, "", item.used, item == grants.current(item.ca)) for item in grants.held.values()]
            return GrantsListed(grants.centre.plant, (), tuple(held))
        boxes, shown = [], []
        for box in grants.boxes.values():
            state = load_state(self._room, box)
            checkpoint = self._room.store.blob(box.checkpoint) or b""
            used = sum(state.used.values())
            boxes.append(BoxShown(box.label, box.plant, box.ca, box.size, used, state.ts, checkpoint))
            made = [grant for grant in grants.made.values() if grant.ca == box.ca]
            shown += [show_grant(item, box.label, state.used.get(item.id, 0), item == made[-1]) for item in made]
        return GrantsListed("", tuple(boxes), tuple(shown))

    async def find(self, command: FindStrays, caller: Caller) -> StraysFound:
        """Judge certificates, PEM or DER. Raises an X509Error for one that is none."""
        return await self._room.act(lambda: self._find(command.certificates, caller))

    def _find(self, certificates: Sequence[bytes], caller: Caller) -> StraysFound:
        room = self._room
        boxes = list(room.ledger.replay.grants.boxes.values())
        known = [(box, load_plant_ca(room, box), load_state(room, box).ts) for box in boxes]
        verdicts = tuple(self._judge(item, known) for item in certificates)
        drafts = []
        for box in boxes:
            if numbers := [item.number for item in verdicts if (item.box, item.state) == (box.label, "stray")]:
                what = {"box": box.label, "numbers": numbers, "plant": box.plant}
                drafts.append(entries.event(STRAY, caller.actor, what))
        if drafts:
            room.ledger.record(drafts)
        return StraysFound(verdicts)

    def _judge(self, data: bytes, known: Sequence[tuple[Box, Issuer, str]]) -> StrayVerdict:
        """By the signature of a box's CA, and the rows that settlements left."""
        der = read_pem(data, "CERTIFICATE") if is_pem(data) else data
        tbs, _, signature = split_signed(der)
        read = read_tbs(tbs)
        number = write_number(read.serial_number)
        for box, issuer, settled in known:
            if not is_signed(issuer, tbs, signature):
                continue
            row = self._room.store.find(BoxCertificateRow, number=number)
            if row and row["certificate"] == hashlib.sha256(write_pem(der, "CERTIFICATE")).hexdigest():
                return StrayVerdict(number, box.label, "known")
            later = not settled or read_time(read.not_before) >= datetime.fromisoformat(settled).replace(microsecond=0)
            return StrayVerdict(number, box.label, "unsettled" if later and row is None else "stray")
        return StrayVerdict(number, "", "foreign")


def is_signed(issuer: Issuer, tbs: bytes, signature: bytes) -> bool:
    """Whether a CA made this signature."""
    try:
        verify_raw(issuer.public_key, der_to_raw(signature, 32), tbs)
    except PkiError:
        return False
    return True


def show_grant(grant: Grant, box: str, used: int, current: bool) -> GrantShown:
    """A grant as callers see it."""
    names = ("id", "number", "quantity", "profiles", "classes", "valid_from", "valid_to", "document")
    return GrantShown(**{name: getattr(grant, name) for name in names}, box=box, used=used, current=current)


def grant_handlers(room: Room) -> Mapping[type[Command], Handler]:
    """The handlers of site boxes and grants for one keyroom."""
    sightings = Sightings(room)
    return {ListGrants: sightings.list, FindStrays: sightings.find, SettleBox: Settlements(room).settle}
