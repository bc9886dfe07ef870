"""Keys of TPMs, by credential activation: a maker's certificate says that an endorsement key lives in a TPM; that the
device's key lives in the same one is shown by a secret that this TPM gives back only while it holds the key.

A challenge lives in memory, for ten minutes and one answer: after a restart the station asks for another.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import or_, select

from ceremonies import entries
from ceremonies.commands import ActivateTpm, ChallengeTpm, IssueDevice, TpmActivated, TpmChallenged
from ceremonies.desk import Caller
from ceremonies.element_tables import ElementRow
from ceremonies.elements import ACTIVATE, Element
from ceremonies.errors import KeyroomError
from ceremonies.fleet import Makers
from ceremonies.issuance import Line
from ceremonies.journal import Placed
from ceremonies.protection import ElementTaken, read_element
from ceremonies.room import Room
from ceremonies.store import Change, Insert, Row, table_of
from pki.elements.areas import Area, read_area
from pki.elements.credentials import ENTROPY, SECRET, Credential, make_credential
from pki.elements.endorsements import Endorsement, read_endorsement
from pki.elements.paths import read_pins
from pki.errors import PkiError

LIFE_S: Final = 600
EACH: Final = 256
"""Challenges of one station that may wait; its oldest goes when another comes."""
ALL: Final = 4096

Admit = Callable[[Any, Caller], Awaitable[Line]]


class ChallengeUnknown(KeyroomError):
    """No such challenge waits: it was answered, has ended, was another station's, or the keyroom was restarted."""

    code = "tpm-challenge-unknown"


class ActivationFailed(KeyroomError):
    """The answer is not the secret: the TPM does not hold the key."""

    code = "tpm-activation-failed"


class Challenge(msgspec.Struct, frozen=True):
    """What waits for an answer. order: and its class; secret: SHA-256 of the answer; evidence: blobs by their use."""

    by: str
    order: str
    class_name: str
    element: Element
    secret: bytes
    expires: int
    evidence: Mapping[str, bytes]


class Activations:
    """Challenges TPMs, and records their keys. admit: the checks of a station, an order and a serial."""

    def __init__(self, room: Room, admit: Admit) -> None:
        self._room = room
        self._admit = admit
        self._waiting: dict[str, Challenge] = {}

    async def challenge(self, command: ChallengeTpm, caller: Caller) -> TpmChallenged:
        """A credential for the TPM and the key that a station names.

        Raises PathRefused, EndorsementRefused, AreaRefused, ElementTaken, and what admission raises.
        """
        try:
            line = await self._admit(IssueDevice(command.work_order, command.serial, b""), caller)
            endorsement, area = await asyncio.to_thread(self._read, command)
            element = Element(area.spki, "tpm", endorsement.spki, command.serial)
            await asyncio.to_thread(self._find_same, element)
        except (KeyroomError, PkiError) as error:
            await self._refuse(command, caller, error, {"endorsement": command.endorsement, "area": command.area})
            raise
        drawn, now = self._room.surroundings.entropy(16 + SECRET + ENTROPY), self._room.surroundings.now_us()
        number, secret, entropy = drawn[:16].hex(), drawn[16 : 16 + SECRET], drawn[16 + SECRET :]
        credential: Credential = make_credential(endorsement.key, area.name, secret, entropy)
        expires = now // 1_000_000 + LIFE_S
        self._make_space(caller.actor.sub, now // 1_000_000)
        self._waiting[number] = Challenge(
            caller.actor.sub, command.work_order, line.order.class_name, element, hashlib.sha256(secret).digest(),
            expires, {"area": command.area, "endorsement": command.endorsement},
        )  # fmt: skip
        return TpmChallenged(number, credential.blob, credential.seed, area.spki, expires)

    def _read(self, command: ChallengeTpm) -> tuple[Endorsement, Area]:
        makers = self._room.door.require_governing().policy.fleet.makers or Makers()
        area = read_area(command.area)
        pins = read_pins(makers.tpm_roots)
        return read_endorsement(command.endorsement, command.chain, pins, self._room.door.now()), area

    def _make_space(self, caller: str, now: int) -> None:
        """Forget what has ended, then the oldest of a caller who has many, then the oldest of all."""
        for number in [number for number, item in self._waiting.items() if item.expires <= now]:
            del self._waiting[number]
        own = [number for number, item in self._waiting.items() if item.by == caller]
        if len(own) >= EACH or len(self._waiting) >= ALL:
            del self._waiting[own[0] if len(own) >= EACH else next(iter(self._waiting))]

    async def activate(self, command: ActivateTpm, caller: Caller) -> TpmActivated:
        """Record the key of a challenge that was answered. Raises ChallengeUnknown, ActivationFailed, ElementTaken."""
        try:
            await self._admit(IssueDevice(command.work_order, command.serial, b""), caller)
            waiting = self._take(command, caller)
            return await self._room.act(lambda: self._record(waiting, caller))
        except (KeyroomError, PkiError) as error:
            await self._refuse(command, caller, error, {})
            raise

    def _take(self, command: ActivateTpm, caller: Caller) -> Challenge:
        """The challenge of an answer; it is spent, whatever the answer was."""
        waiting = self._waiting.get(command.challenge)
        asked = (caller.actor.sub, command.work_order, command.serial)
        if waiting is None or (waiting.by, waiting.order, waiting.element.serial) != asked:
            raise ChallengeUnknown("no such challenge waits for this station and serial", hint="ask for another one")
        del self._waiting[command.challenge]
        if waiting.expires <= self._room.surroundings.now_us() // 1_000_000:
            raise ChallengeUnknown(f"the challenge is over {LIFE_S} s old", hint="ask for another one")
        if not hmac.compare_digest(hashlib.sha256(command.secret).digest(), waiting.secret):
            raise ActivationFailed(
                f"the answer of {command.serial} is not the secret", hint="quarantine the unit: its TPM lacks the key"
            )
        return waiting

    def _find_same(self, element: Element) -> Row | None:
        """The row of this very element, if it is known.

        Raises ElementTaken when its key, its TPM or its serial is known otherwise. A permit for rework lets a serial
        come with another TPM.
        """
        table = table_of(ElementRow).c
        same = or_(table.spki == element.spki, table.ident == element.ident, table.serial == element.serial)
        known = {row["spki"]: (read_element(row), row) for row in self._room.store.rows(select(*table).where(same))}
        own = {item.ident for item, _ in known.values() if item.serial == element.serial}
        if any(item.serial != element.serial for item, _ in known.values()):
            raise ElementTaken(
                f"the TPM of {element.serial}, or its key, belongs to another serial", hint="quarantine the unit"
            )
        if own and element.ident not in own and element.serial not in self._room.ledger.replay.units.permits:
            raise ElementTaken(
                f"serial {element.serial} has another TPM", hint="call the supervisor: rework, or a wrong label"
            )
        return known[element.spki][1] if element.spki in known else None

    def _record(self, waiting: Challenge, caller: Caller) -> TpmActivated:
        element = waiting.element
        known = self._find_same(element)
        if known is not None:
            return TpmActivated(element.serial, element.spki, element.ident, known["seq"], replayed=True)
        about = {"class": waiting.class_name, "work_order": waiting.order}
        proof = {name: hashlib.sha256(data).hexdigest() for name, data in waiting.evidence.items()}
        facts = {"ident": element.ident, "serial": element.serial, "spki": element.spki}
        draft = entries.event(ACTIVATE, caller.actor, {**about, **proof, **facts})

        def follow(placed: Sequence[Placed]) -> tuple[Sequence[Change], Sequence[bytes]]:
            row = {**facts, "kind": element.kind, "seq": placed[0].seq}
            return [Insert(ElementRow, row)], tuple(waiting.evidence.values())

        ledger = self._room.ledger
        (placed,) = ledger.commit(lambda _: [draft], follow, settles=ledger.settled)
        return TpmActivated(element.serial, element.spki, element.ident, placed.seq, replayed=False)

    async def _refuse(
        self, command: ChallengeTpm | ActivateTpm, caller: Caller, error: Exception, evidence: Mapping[str, bytes]
    ) -> None:
        proof = {name: hashlib.sha256(data).hexdigest() for name, data in evidence.items()}
        what = {"serial": command.serial, "work_order": command.work_order, **proof}
        refused = entries.event_refused(ACTIVATE, caller.actor, what, error)
        await self._room.act(partial(self._room.ledger.record, [refused]))
