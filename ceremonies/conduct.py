"""The handlers of ceremonies: open, show, decide, execute; and suspend, which any single officer may."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from sqlalchemy import select

from ceremonies import entries, keywork
from ceremonies.actions import ACTIONS
from ceremonies.approvals import parse_template, read_decision, verify_approval
from ceremonies.commands import (
    CeremoniesListed,
    CeremonyShown,
    DecideStep,
    ExecuteStep,
    KeysListed,
    ListCeremonies,
    OpenCeremony,
    OpenGenesis,
    ShowCeremony,
    StepShown,
    SuspendKey,
)
from ceremonies.desk import Caller
from ceremonies.errors import ApprovalMalformed, KeyroomError
from ceremonies.genesis import GENESIS, open_genesis
from ceremonies.orders import StepRef
from ceremonies.procedures import (
    PLAN,
    Action,
    ActionUnknown,
    check_open,
    digest_of,
    execute_plan,
    execute_results,
    open_ceremony,
    request_prefix,
)
from ceremonies.queries import list_keys
from ceremonies.quorums import CeremonyUnknown, check_template, load_step
from ceremonies.room import Room
from ceremonies.store import Insert, table_of
from ceremonies.tables import ApprovalRow, CeremonyRow, DocumentRow, RequestRow, StepRow
from pki.errors import PkiError


class AlreadyDecided(KeyroomError):
    """This officer decided on this step before. A decision stands."""

    code = "already-decided"


def find_action(name: str) -> Action:
    """The kind of ceremony of this name. Raises ActionUnknown."""
    if name not in ACTIONS:
        known = ", ".join(sorted(ACTIONS.keys() - {GENESIS}))
        raise ActionUnknown(f"no ceremony {name}", hint=f"one of {known}")
    return ACTIONS[name]


class Conduct:
    """Ceremonies as callers see them."""

    def __init__(self, room: Room) -> None:
        self._room = room
        # One step at a time: two executions of one step must not race each other through it.
        self._turn = asyncio.Lock()
        self._withheld: dict[StepRef, int] = {}

    async def open_genesis(self, command: OpenGenesis, caller: Caller) -> CeremonyShown:
        """Propose genesis; on the keyroom's own machine only."""
        async with self._turn:
            await open_genesis(self._room, (command.id, command.plan, command.chg), caller.actor)
        return await self._show(command.id)

    async def open(self, command: OpenCeremony, caller: Caller) -> CeremonyShown:
        """Propose a ceremony. The proposer is the officer that the token is bound to."""
        officer = caller.identity.only("officer") if caller.identity else ""
        self._room.door.require_governing().roster.officer(officer)
        async with self._recording(caller, {"action": command.action, "ceremony": command.id}):
            action = find_action("" if command.action == GENESIS else command.action)
            facts = (command.id, command.action, command.plan, command.chg)
            await open_ceremony(self._room, action, facts, (caller.actor, officer))
        return await self._show(command.id)

    @contextlib.asynccontextmanager
    async def _recording(self, caller: Caller, what: dict[str, str]) -> AsyncIterator[None]:
        """Record why a ceremony does not go on, also when an earlier part of the step left entries of its own."""
        try:
            yield
        except (KeyroomError, PkiError) as error:
            told = {**what, "why": entries.reason(error)}
            denied = entries.event("ceremony.denied", caller.actor, told, cer=what["ceremony"])
            # The refusal is the answer, also where nothing can be written.
            with contextlib.suppress(KeyroomError, PkiError):
                await self._room.act(lambda: self._room.ledger.record([denied]))
            raise

    async def list(self, command: ListCeremonies, caller: Caller) -> CeremoniesListed:
        """Every ceremony, newest first."""
        rows = self._room.store.list(CeremonyRow, "opened_us")
        listed = ((row["id"], row["action"], row["state"], row["proposer"]) for row in reversed(rows))
        return CeremoniesListed(tuple(listed))

    async def show(self, command: ShowCeremony, caller: Caller) -> CeremonyShown:
        """One ceremony: the bytes that officers approve."""
        return await self._show(command.id)

    async def decide(self, command: DecideStep, caller: Caller) -> CeremonyShown:
        """Verify an officer's statement and keep it verbatim. What does not verify is refused: no approval."""
        step = StepRef(command.id, command.step)
        await self._room.act(lambda: self._decide(command, caller, step), urgent=True)
        return await self._show(command.id)

    def _decide(self, command: DecideStep, caller: Caller, step: StepRef) -> None:
        ceremony, row = load_step(self._room.store, step)
        check_open(ceremony, row)
        template = parse_template(row["template"])
        check_template(template, ceremony, row)
        try:
            armoured = command.signature.decode()
        except UnicodeDecodeError as error:
            raise ApprovalMalformed("the signature is not an armored SSH signature") from error
        approval = verify_approval(template, command.statement, armoured, self._room.door.require_governing().roster)
        key = {"ceremony": step.ceremony, "step": step.step, "officer": approval.officer}
        if self._room.store.find(ApprovalRow, **key) is not None:
            raise AlreadyDecided(f"{approval.officer} decided on step {step.step} of {step.ceremony} before")
        blobs = [command.statement, command.signature]
        what = {
            **key,
            "decision": approval.decision,
            "signature": digest_of(blobs[1]),
            "statement": digest_of(blobs[0]),
        }
        draft = entries.event("approval", caller.actor, what, cer=step.ceremony)
        values = {**key, "statement": blobs[0], "signature": blobs[1]}
        self._room.ledger.commit(
            lambda _: [draft],
            lambda placed: (
                [Insert(ApprovalRow, {**values, "seq": placed[0].seq, "hash": placed[0].hash.hex()})],
                blobs,
            ),
            settles=self._room.ledger.settled,
        )

    async def execute(self, command: ExecuteStep, caller: Caller) -> CeremonyShown:
        """Do what an approved step says; a step that stopped half-way is resumed.

        The answer waits until a quorum of witnesses has cosigned what was recorded. When it does not in time, the step
        is done and its answer withheld: asking again gives it. Raises WitnessesBehind.
        """
        step = StepRef(command.id, command.step)
        if step not in self._withheld:
            await self._carry_out(step, caller)
        self._withheld.setdefault(step, self._room.ledger.journal.size)
        await self._room.witnesses.demand(self._withheld[step])
        await self._room.act(self._room.anchor.keep)
        self._withheld.pop(step, None)
        return await self._show(command.id)

    async def _carry_out(self, step: StepRef, caller: Caller) -> None:
        what = {"ceremony": step.ceremony, "step": step.step}
        async with self._turn, self._recording(caller, what):
            rows = load_step(self._room.store, step)
            what["action"] = rows[0]["action"]
            check_open(*rows)
            execute = execute_plan if step.step == PLAN else execute_results
            await execute(self._room, find_action(rows[0]["action"]), rows, caller.actor)

    async def suspend(self, command: SuspendKey, caller: Caller) -> KeysListed:
        """Stop a key at once."""
        if caller.identity is not None:
            self._room.door.require_governing().roster.officer(caller.identity.only("officer"))
        await self._room.act(
            lambda: keywork.change_states(
                self._room.door, [command.label], "suspended", caller.actor, why=command.reason
            ),
            urgent=True,
        )
        return list_keys(self._room)

    async def _show(self, name: str) -> CeremonyShown:
        return await asyncio.to_thread(self._read, name)

    def _read(self, name: str) -> CeremonyShown:
        store = self._room.store
        row = store.find(CeremonyRow, id=name)
        if row is None:
            raise CeremonyUnknown(f"no ceremony {name}", hint="list the ceremonies")
        steps = tuple(
            StepShown(
                step=item["step"],
                template=item["template"],
                shown=item["shown"],
                decisions=tuple(
                    (approval["officer"], read_decision(approval["statement"]))
                    for approval in store.list(ApprovalRow, "officer", ceremony=name, step=item["step"])
                ),
                done=item["done"],
            )
            for item in store.list(StepRow, "step", ceremony=name)
        )
        facts = {field: row[field] for field in ("id", "action", "state", "proposer", "chg", "plan")}
        roster = self._room.door.require_governing().roster.document
        return CeremonyShown(**facts, steps=steps, documents=self._documents(name), roster=roster)

    def _documents(self, name: str) -> tuple[tuple[str, str, str], ...]:
        """What was sealed under the ceremony, in order: a range of the requests' primary key."""
        first = request_prefix(name)
        after = first[:-1] + chr(ord(first[-1]) + 1)
        request, document = table_of(RequestRow).c, table_of(DocumentRow).c
        query = select(document.kind, document.name, document.sha256).where(
            request.id >= first, request.id < after, request.document == document.sha256
        )
        return tuple(
            (row["kind"], row["name"], row["sha256"]) for row in self._room.store.rows(query.order_by(request.seq))
        )
