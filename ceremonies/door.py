"""The one door to the keys: authorise, record the intent, sign, verify, record the outcome, answer with proof.

Every method runs on the writer's thread. The uses of a key that do not take this road are a closed list
(docs/architecture.md): checkpoints by the journal key, and proof of possession inside a generation.
"""

import datetime
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection

from ceremonies import entries
from ceremonies.claims import Claim, Known, Same, Verdict, claim_changes, count_quotas, decide_claims
from ceremonies.errors import KeyroomError
from ceremonies.journal import RESTORE, EntryDraft, JournalForked, Placed
from ceremonies.keyring import KeyEntry, Keyring, check_may_sign
from ceremonies.ledger import Ledger
from ceremonies.orders import Order, Sealed, StepRef
from ceremonies.quorums import CeremonyOver, Governing, Mandate, demand_listed, demand_mandate
from ceremonies.recovery import settle_intents
from ceremonies.replay import check_approvals
from ceremonies.store import Change, Insert, Update
from ceremonies.surroundings import Surroundings
from ceremonies.tables import DocumentRow, KeyRow, RequestRow
from ceremonies.writer import Job
from hsm.errors import HsmError
from hsm.keys import GeneratedKey, KeyName
from hsm.vault import AnyStrongbox
from pki.errors import PkiError
from pki.log.errors import LogError

REFUSALS = (KeyroomError, PkiError, HsmError)
MadeKey = GeneratedKey
"""What the strongbox gives for a new key; `ceremonies.keywork` imports no hsm."""


class DoorClosed(KeyroomError):
    """No roster and policy are in force, no journal key is active, or an order asks for nothing. No key is used."""

    code = "door-closed"


class Passage:
    """One order on its way through the door."""

    __slots__ = (
        "counted", "document", "error", "first", "intent", "job", "keys", "order", "out", "signatures", "verdict",
    )  # fmt: skip

    def __init__(self, job: Job[Order]) -> None:
        self.job = job
        self.order = job.work
        self.keys: list[KeyEntry] = []
        self.counted: tuple[Mapping[str, Any], ...] = ()
        self.verdict: Verdict | None = None
        self.first: Passage | None = None
        self.error: Exception | None = None
        self.intent: Placed | None = None
        self.signatures: list[bytes] = []
        self.document = b""
        self.out: dict[str, Any] = {}


class Door:
    """Holds the strongbox and the keyring for the ledger's thread. `governing` is None before genesis."""

    def __init__(self, ledger: Ledger, strongbox: AnyStrongbox, surroundings: Surroundings, keyring: Keyring) -> None:
        self.ledger = ledger
        self.strongbox = strongbox
        self.surroundings = surroundings
        self.keyring = keyring
        self.governing: Governing | None = None

    def now(self) -> datetime.datetime:
        """The wall clock."""
        return datetime.datetime.fromtimestamp(self.surroundings.now_us() / 1_000_000, datetime.UTC)

    def require_governing(self) -> Governing:
        """The roster and policy in force. Raises DoorClosed before genesis."""
        if self.governing is None:
            raise DoorClosed("no roster and no policy are in force", hint="hold the genesis ceremony")
        return self.governing

    def mandate(self, step: StepRef, kind: str) -> Mandate:
        """The approvals of a step for a kind of draft or act, verified now, and all that the journal holds of them."""
        at = (step, kind)
        replay = self.ledger.replay
        check_approvals(self.ledger.store, replay, step.ceremony, step.step)
        if step.ceremony in replay.closed:
            raise CeremonyOver(f"ceremony {step.ceremony} is closed", hint="propose a new one")
        return demand_mandate(self.ledger.store, self.require_governing(), at, self.now(), self.surroundings.software)

    def settle(self) -> None:
        """Close intents that a failed transaction left open, before anything else happens."""
        if not self.ledger.settled:
            settle_intents(self.ledger, self.keyring, self.strongbox)

    def seal_batch(self, jobs: Sequence[Job[Order]]) -> None:
        """Seal orders together. Each job gets a Sealed, or the error that refused it; nothing unrecorded leaves."""
        self.settle()
        passages = [Passage(job) for job in jobs]
        mandates: dict[tuple[StepRef, str], Mandate] = {}
        for passage in passages:
            attempt(passage, lambda p: self._authorise(p, mandates))  # 1 and 2
        try:
            self._record_intents(passages)  # 3
        except LogError as error:
            # Nothing was written: an order has facts that no entry can hold. It must not fail the others.
            if len(jobs) == 1:
                raise
            for job in jobs:
                self._seal_alone(job, error)
            return
        self._finish(passages)

    def _seal_alone(self, job: Job[Order], error: LogError) -> None:
        try:
            self.seal_batch([job])
        except Exception as alone:  # noqa: BLE001  # whoever waits for it judges it; the next order has its own turn
            job.result = alone if isinstance(alone, LogError) else error

    def _finish(self, passages: Sequence[Passage]) -> None:
        """Steps 4 to 7 for the passages that have an intent, and everyone's answer."""
        going = [passage for passage in passages if passage.intent is not None]
        for passage in going:
            started = self.surroundings.mono_us()
            attempt(passage, self._sign)  # 4 and 5
            us = max(0, self.surroundings.mono_us() - started)
            passage.out = (
                entries.out_failed(passage.error, us)
                if passage.error
                else entries.out_ok(hashlib.sha256(passage.document).hexdigest(), passage.signatures, us)
            )
        sealed = self._record_outcomes(going)  # 6
        self._answer(passages, sealed)  # 7

    def _authorise(self, passage: Passage, mandates: dict[tuple[StepRef, str], Mandate]) -> None:
        """The keys may sign this kind, and the quorum that the policy names has approved exactly this draft."""
        order, governing = passage.order, self.require_governing()
        kind = order.draft.kind
        if self.ledger.log_key is None and governing.genesis is None:
            raise DoorClosed("no journal key is active: nothing can be proven", hint="restore the journal's token")
        if not order.draft.to_sign:
            raise DoorClosed(f"draft {kind} names no key", hint="there is nothing to seal")
        passage.keys = [self.keyring.get(item.spki) for item in order.draft.to_sign]
        for key in passage.keys:
            check_may_sign(key, kind)
            self.strongbox.check_ready(key.token)
        if governing.rule_for(kind, order.step.ceremony if order.step else "").m == 0:
            return
        step = order.step or StepRef("none", "none")
        if (step, kind) not in mandates:
            mandates[step, kind] = self.mandate(step, kind)
        demand_listed(mandates[step, kind], order.draft)
        passage.counted = mandates[step, kind].counted

    def _record_intents(self, passages: Sequence[Passage]) -> None:
        """T1. A crash after this commit leaves intents and spent names; recovery closes the intents as unknown."""
        policy = self.governing.policy.digest if self.governing else "0" * 64
        uses = {key.spki: key.uses for passage in passages for key in passage.keys}
        entered: list[Passage] = []
        quotas: dict[str, int] = {}

        def decide(connection: Connection) -> Sequence[EntryDraft]:
            allowed = [passage for passage in passages if passage.error is None]
            verdicts = decide_claims(connection, [p.order for p in allowed], self.ledger.replay.quotas)
            for passage, verdict in zip(allowed, verdicts, strict=True):
                passage.verdict = verdict
                if isinstance(verdict, KeyroomError):
                    passage.error = verdict
                elif isinstance(verdict, Same):
                    passage.first = allowed[verdict.position]
                elif isinstance(verdict, Claim) and verdict.earlier is not None:
                    attempt(passage, partial(self._check_again, verdict.earlier))
            quotas.update(count_quotas(connection, [(p.order, p.verdict) for p in allowed]))
            entered.extend(p for p in passages if p.error is not None or isinstance(p.verdict, Claim))
            return [self._intent(passage, uses, policy) for passage in entered]

        def follow(placed: Sequence[Placed]) -> tuple[Sequence[Change], Iterable[bytes]]:
            claimed = [(p.order, p.verdict, at.seq) for p, at in zip(entered, placed, strict=True) if p.error is None]
            changes = claim_changes(claimed, quotas)
            changes += [Update(KeyRow, {"spki": name}, {"uses": count}) for name, count in self._grown(uses).items()]
            return changes, intent_blobs([order for order, _, _ in claimed])

        placed = self.ledger.commit(decide, follow, settles=lambda: all(p.error for p in entered))
        for name, count in self._grown(uses).items():
            self.keyring.put(msgspec.structs.replace(self.keyring.get(name), uses=count))
        for passage, at in zip(entered, placed, strict=True):
            passage.intent = at if passage.error is None else None

    def _check_again(self, earlier: int, passage: Passage) -> None:
        """What is sealed again is what the earlier intent of the same request named. Raises JournalForked."""
        _, leaf = self.ledger.read_entry(earlier)
        order = passage.order
        if not leaf.op or leaf.op.digest != order.draft.digest or order.request is None or leaf.req != order.request.id:
            raise JournalForked(f"entry {earlier} is no intent of this request for these bytes", hint=RESTORE)

    def _grown(self, uses: Mapping[str, int]) -> dict[str, int]:
        return {name: count for name, count in uses.items() if count != self.keyring.get(name).uses}

    def _intent(self, passage: Passage, uses: dict[str, int], policy: str) -> EntryDraft:
        if passage.error is not None:
            return entries.sign_denied(passage.order, policy, passage.error)
        for key in passage.keys:
            uses[key.spki] += 1
        counts = [(key, uses[key.spki]) for key in passage.keys]
        return entries.sign_intent(passage.order, counts, policy, passage.counted)

    def _sign(self, passage: Passage) -> None:
        """The strongbox verifies each signature against the registered key and these bytes before it returns it, so
        `assemble` need not do so again; `inspect` judges the document as its user will.
        """
        order = passage.order
        pairs = list(zip(order.draft.to_sign, passage.keys, strict=True))
        raws = {item.spki: self.strongbox.sign(key_name(key), item.data) for item, key in pairs}
        document = order.draft.assemble(raws)
        if order.inspect is not None:
            order.inspect(document)
        passage.document, passage.signatures = document, list(raws.values())

    def _record_outcomes(self, going: Sequence[Passage]) -> dict[int, Sealed]:
        """T2. A crash before this commit leaves open intents and nothing released; after it, a retry is answered.

        Returns what is sealed by the index of its intent: only what is durable.
        """
        if not going:
            return {}
        sealed: dict[int, Sealed] = {}
        drafts = [entries.sign_outcome(p.order, p.intent, p.keys, p.out) for p in going if p.intent is not None]

        def follow(placed: Sequence[Placed]) -> tuple[Sequence[Change], Iterable[bytes]]:
            changes: list[Change] = []
            for passage, at in zip(going, placed, strict=True):
                if passage.error is None and passage.intent is not None:
                    document = Sealed(passage.document, passage.out["doc"], at.seq, at.leaf, b"")
                    sealed[passage.intent.seq] = document
                    changes += outcome_changes(passage.order, document)
            return changes, [document.document for document in sealed.values()]

        self.ledger.commit(lambda _: drafts, follow, settles=True)
        return sealed

    def _answer(self, passages: Sequence[Passage], sealed: Mapping[int, Sealed]) -> None:
        """A checkpoint over the committed head covers T2; each answer gets its proof under it."""
        self.ledger.sign_checkpoint()
        for passage in passages:
            attempt(passage, lambda p: self._answer_one(p, sealed))
            if passage.job.result is None:
                passage.job.result = passage.error

    def _answer_one(self, passage: Passage, sealed: Mapping[int, Sealed]) -> None:
        job, verdict, request = passage.job, passage.verdict, passage.order.request
        if passage.intent is not None and passage.intent.seq in sealed:
            document = sealed[passage.intent.seq]
            job.result = msgspec.structs.replace(document, proof=self.ledger.prove(document.seq))
        elif isinstance(verdict, Known) and request is not None:
            job.result = self.ledger.recall(verdict.document, verdict.seq, request.id)
        elif passage.first is not None:
            shared = passage.first.job.result
            job.result = repeat(shared) if isinstance(shared, Sealed) else shared


def attempt(passage: Passage, step: Callable[[Passage], None]) -> None:
    """Do one step of a passage. Whatever goes wrong is the error of this passage and of no other in its batch."""
    try:
        step(passage)
    except Exception as error:  # noqa: BLE001  # an order that nobody foresaw must not fail its neighbours
        passage.error = error


def repeat(sealed: Sealed) -> Sealed:
    """The same answer for a request that came twice in one batch."""
    return msgspec.structs.replace(sealed, replayed=True)


def key_name(key: KeyEntry) -> KeyName:
    """What the strongbox needs to find a key and to know that it is the right one."""
    return KeyName(token=key.token, id=bytes.fromhex(key.cka_id), spki=key.spki, label=key.label)


def intent_blobs(orders: Iterable[Order]) -> Iterable[bytes]:
    """What an auditor needs to check an intent: the draft's statement, the bytes to sign, what came with it."""
    for order in orders:
        yield order.draft.statement
        yield from (item.data for item in order.draft.to_sign)
        yield from order.blobs


def outcome_changes(order: Order, sealed: Sealed) -> list[Change]:
    """The rows of a sealed document."""
    row = {"sha256": sealed.sha256, "seq": sealed.seq, "kind": order.draft.kind, "name": order.name}
    changes: list[Change] = [Insert(DocumentRow, row)]
    if order.request is not None:
        done = {"outcome": sealed.seq, "document": sealed.sha256}
        changes.append(Update(RequestRow, {"id": order.request.id}, done))
    return changes + (list(order.changes(sealed)) if order.changes else [])
