"""How a ceremony goes: opened with a frozen plan, decided by officers' signatures, executed step by step.

Two steps at most. *plan*: keys to make, to destroy, states to change, documents to put in force. *results*: the drafts
that only exist once the keys do. An action is a row of `ACTIONS`; the engine is the same for all, genesis included.
"""

import asyncio
import base64
import datetime
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ceremonies import entries, keywork
from ceremonies.approvals import ApprovalTemplate, LogCheckpoint
from ceremonies.errors import KeyroomError
from ceremonies.journal import EntryDraft, Placed
from ceremonies.keysteps import change_listed_states, work_listed_keys
from ceremonies.orders import Actor, Order, RequestKey, Reservation, Sealed, StepRef
from ceremonies.plans import read_shown
from ceremonies.quorums import CeremonyOver, Mandate, StepOutdated, load_step, shown_draft
from ceremonies.room import Room
from ceremonies.store import Change, Insert, Row, Update
from ceremonies.tables import CeremonyRow, StepRow
from pki.drafts import Draft
from pki.jcs import jcs

VALID_FOR = datetime.timedelta(days=7)
PLAN, RESULTS = "plan", "results"


class ActionUnknown(KeyroomError):
    """There is no such kind of ceremony."""

    code = "action-unknown"


class CeremonyExists(KeyroomError):
    """A ceremony with this id was opened before."""

    code = "ceremony-exists"


class StepDone(KeyroomError):
    """The step was executed already."""

    code = "step-done"


@dataclass(frozen=True, slots=True)
class Item:
    """A document of the results: its name in lists, the draft, the rows that follow from it, its last judge."""

    name: str
    draft: Draft
    changes: Callable[[Sealed], Sequence[Change]] = lambda _: ()
    blobs: tuple[bytes, ...] = ()
    inspect: Callable[[bytes], object] | None = None
    reserve: tuple[Reservation, ...] = ()


@dataclass(frozen=True, slots=True)
class Closing:
    """Who closes which ceremony, with the context (`cer`, `chg`, `apr`) of its last entries.

    approved: the same with the approvals of the last step.
    """

    by: Actor
    ceremony: str
    context: Mapping[str, Any]
    approved: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LastWords:
    """What an action records when its ceremony closes: entries, and the rows and blobs that go with their places."""

    drafts: Sequence[EntryDraft] = ()
    changes: Callable[[Sequence[Placed]], Sequence[Change]] = lambda _: ()
    blobs: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """One kind of ceremony.

    prepare: reads and checks the plan, gives what officers see of it: content, keys, destroy, states.
    draw: random values and times that the drafts need, fixed once (JSON). draft: the results, the same each time.
    guard: what must hold when the plan is executed, however long ago it was opened.
    close: entries, rows and blobs written when the last step is done. kinds: the acts that the plan step covers.
    """

    prepare: Callable[[Room, bytes], dict[str, Any]]
    kinds: tuple[str, ...]
    draw: Callable[[Room, Mapping[str, Any]], dict[str, Any]] = lambda *_: {}
    draft: Callable[[Room, Mapping[str, Any], Mapping[str, Any]], Sequence[Item]] | None = None
    close: Callable[[Room, Mapping[str, Any], Closing], "LastWords"] | None = None
    after: Callable[[Room, Mapping[str, Any]], None] = lambda *_: None
    guard: Callable[[Room, Mapping[str, Any]], None] = lambda *_: None


async def open_ceremony(room: Room, action: Action, facts: tuple[str, str, bytes, str], by: tuple[Actor, str]) -> None:
    """Open a ceremony: facts = (id, action name, plan, change-request id), by = (actor, proposing officer's id).

    Raises PlanMalformed and what `prepare` raises, CeremonyExists.
    """
    name, kind, plan, chg = facts
    actor, proposer = by
    # Beside the loop: a plan may be rehearsed on the device model, which takes a while.
    prepared = await asyncio.to_thread(action.prepare, room, plan)
    shown = jcs({"action": kind, "type": "kedge/plan/v1", "v": 1, **prepared})

    def write() -> None:
        if room.store.find(CeremonyRow, id=name) is not None:
            raise CeremonyExists(f"ceremony {name} exists", hint="choose another id")
        step = make_step(room, (name, kind, PLAN, chg, proposer), shown, action.kinds)
        row = {"id": name, "action": kind, "state": "open", "proposer": proposer, "chg": chg, "plan": plan}
        what = {"action": kind, "ceremony": name, "plan": digest_of(shown), "proposer": proposer}
        rows = [Insert(CeremonyRow, {**row, "opened_us": room.surroundings.now_us()}), Insert(StepRow, step)]
        room.ledger.record([entries.event("ceremony.open", actor, what, cer=name)], rows, [shown])

    await room.act(write)


def make_step(
    room: Room, facts: tuple[str, str, str, str, str], shown: bytes, kinds: Sequence[str], recipe: bytes = b"{}"
) -> Row:
    """A step's row with its approval template. facts = (ceremony, action, step, chg, proposer)."""
    ceremony, action, step, chg, proposer = facts
    governing, journal = room.door.require_governing(), room.ledger.journal
    rules = [governing.rule_for(kind, ceremony) for kind in kinds]
    template = ApprovalTemplate(
        action=action, ceremony=ceremony, step=step, chg=chg,
        draft=shown_draft(f"ceremony.{step}", shown).digest,
        signers=signers_of(shown),
        summary=f"{action}, {step} of ceremony {ceremony}",
        params={"kinds": sorted(kinds), "proposer": proposer, "roster_sha256": governing.roster.digest},
        policy_sha256=governing.policy.digest, software_sha256=room.surroundings.software,
        log_checkpoint=LogCheckpoint(journal.size, journal.root.hex()),
        m=max(rule.m for rule in rules), n=max(rule.n for rule in rules),
        not_after=room.door.now() + VALID_FOR,
        nonce=room.surroundings.entropy(16).hex(),
    )  # fmt: skip
    about = {"ceremony": ceremony, "step": step, "template": template.document}
    return {**about, "shown": shown, "recipe": recipe, "done": False}


def signers_of(shown: bytes) -> tuple[str, ...]:
    """The keys that will sign what a step shows, sorted."""
    drafts = read_shown(shown).get("drafts", [])
    return tuple(sorted({sign[0] for draft in drafts for sign in draft["statement"]["sign"]}))


async def execute_plan(room: Room, action: Action, rows: tuple[Row, Row], by: Actor) -> None:
    """Do the plan step: destroy, make keys, change states; then open the results, or close.

    A crash in the middle is resumed by executing again: what exists is not made twice.
    """
    ceremony, row = rows
    step = StepRef(ceremony["id"], PLAN)
    shown, about = read_shown(row["shown"]), (ceremony["action"], action.kinds)
    await asyncio.to_thread(action.guard, room, shown)
    await work_listed_keys(room, shown, by, step)
    if action.draft is None:
        await change_listed_states(room, shown, by, step)
        await room.act(lambda: close_ceremony(room, action, demand_step(room, step, about), by))
        room.cache.clear()
        return
    await room.act(lambda: open_results(room, action, demand_step(room, step, about), by))


def demand_step(room: Room, step: StepRef, about: tuple[str, Sequence[str]]) -> Mandate:
    """The mandate of a step for all that it covers: about = (action, kinds of drafts and acts), by the code, not by the
    template. Writer's thread: nothing comes between this and what follows from it.

    Raises StepOutdated when the step is another action's, and what `Door.mandate` raises.
    """
    action, kinds = about
    mandates = [room.door.mandate(step, kind) for kind in kinds]
    if not mandates or any(mandate.action != action for mandate in mandates):
        raise StepOutdated(f"step {step.step} of {step.ceremony} is none of {action}", hint="the database was changed")
    return mandates[0]


def open_results(room: Room, action: Action, mandate: Mandate, by: Actor) -> None:
    """Draft what the approved plan leads to, for the officers to approve. Writer's thread."""
    plan, name = mandate.shown, mandate.ceremony
    recipe = action.draw(room, plan)
    items = action.draft(room, plan, recipe) if action.draft else ()
    results = jcs(show_results(room, plan, items))
    kinds = list_kinds(plan, items)
    about = (name, mandate.action, RESULTS, mandate.chg, mandate.proposer)
    new = make_step(room, about, results, kinds, jcs(recipe))
    what = {"ceremony": name, "results": digest_of(results)}
    done = Update(StepRow, {"ceremony": name, "step": PLAN}, {"done": True})
    room.ledger.record([entries.event("ceremony.results", by, what, cer=name)], [Insert(StepRow, new), done], [results])


def list_kinds(shown: Mapping[str, Any], items: Sequence[Item]) -> list[str]:
    """The kinds of drafts and acts that a results step covers; `acts` are those of its close."""
    states = {f"key.{state}" for state in shown.get("states", {})}
    return sorted({item.draft.kind for item in items} | states | set(shown.get("acts", ())))


def show_results(room: Room, plan: Mapping[str, Any], items: Sequence[Item]) -> dict[str, Any]:
    """What officers see of the results: the plan's digest, every draft with its payload, every new key."""
    labels = {fields["label"] for fields in plan.get("keys", [])}
    keys = [
        {"label": k.label, "role": k.role, "spki": k.spki, "thumbprint": k.thumbprint, "token": k.token_serial}
        for k in room.door.keyring
        if k.label in labels
    ]
    drafts = [
        {
            "digest": item.draft.digest,
            "kind": item.draft.kind,
            "name": item.name,
            "payload": base64.urlsafe_b64encode(item.draft.payload).rstrip(b"=").decode(),
            "statement": read_shown(item.draft.statement),
            "summary": item.draft.summary,
        }
        for item in items
    ]
    about = {"plan": digest_of(jcs(plan)), "states": plan.get("states", {})}
    return {"drafts": drafts, "keys": keys, "type": "kedge/results/v1", "v": 1, **about}


async def execute_results(room: Room, action: Action, rows: tuple[Row, Row], by: Actor) -> None:
    """Do the results step: activate keys, seal every listed draft, close. Resumable: each seal is idempotent.

    The plan is the one whose digest the officers approved with the results. Raises StepOutdated when it is not.
    """
    ceremony, row = rows
    step = StepRef(ceremony["id"], RESULTS)
    shown, recipe = read_shown(row["shown"]), read_shown(row["recipe"])
    data = load_step(room.store, StepRef(ceremony["id"], PLAN))[1]["shown"]
    plan = read_shown(data)
    await change_listed_states(room, shown, by, step)
    items = await room.act(lambda: action.draft(room, plan, recipe) if action.draft else ())
    for item in items:
        request = RequestKey(f"{request_prefix(step.ceremony)}{item.name}", item.draft.digest, b"{}")
        order = Order(
            draft=item.draft, by=by, name=item.name, request=request, step=step, chg=ceremony["chg"],
            blobs=item.blobs, changes=item.changes, inspect=item.inspect, reserve=item.reserve,
        )  # fmt: skip
        await room.seal(order)

    def close() -> None:
        mandate = demand_step(room, step, (ceremony["action"], list_kinds(plan, items)))
        if mandate.shown.get("plan") != digest_of(data):
            raise StepOutdated(f"the plan of {step.ceremony} is not the approved one", hint="the database was changed")
        close_ceremony(room, action, msgspec.structs.replace(mandate, shown=plan), by, RESULTS)

    await room.act(close)
    room.cache.clear()


def request_prefix(ceremony: str) -> str:
    """What the idempotency keys of a ceremony's documents begin with; those of other flows begin otherwise."""
    return f"ceremony/{ceremony}:"


def close_ceremony(room: Room, action: Action, mandate: Mandate, by: Actor, step: str = PLAN) -> None:
    """Write the last entries and rows, and close: from here on the approvals are void. Writer's thread.

    `mandate.shown` is the approved plan.
    """
    name = mandate.ceremony
    approved = keywork.context(mandate)
    closing = Closing(by, name, approved if step == PLAN else {"cer": name}, approved)
    words = action.close(room, mandate.shown, closing) if action.close else LastWords()
    closed = entries.event("ceremony.close", by, {"action": mandate.action, "ceremony": name}, cer=name)
    done = Update(StepRow, {"ceremony": name, "step": step}, {"done": True})
    state = Update(CeremonyRow, {"id": name}, {"state": "closed"})
    room.ledger.commit(
        lambda _: [*words.drafts, closed],
        lambda placed: ([*words.changes(placed), done, state], words.blobs),
        settles=room.ledger.settled,
    )
    action.after(room, mandate.shown)


def check_open(ceremony: Row, row: Row) -> None:
    """Raises CeremonyOver or StepDone."""
    if ceremony["state"] in ("closed", "aborted"):
        raise CeremonyOver(f"ceremony {ceremony['id']} is {ceremony['state']}", hint="propose a new one")
    if row["done"]:
        raise StepDone(f"step {row['step']} of {ceremony['id']} was executed", hint="look at the next step")


def digest_of(shown: bytes) -> str:
    """Lowercase hex SHA-256."""
    return hashlib.sha256(shown).hexdigest()
