"""The one door to the keys: authorise, record the intent, sign, verify, record the outcome, answer with proof.

Every method runs on the writer's thread. The uses of a key that do not take this road are a closed
list (docs/architecture.md): checkpoints by the journal key, proof of possession inside a generation, OCSP answers.
"""

import datetime
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from ceremonies import entries
from ceremonies.claims import Known
from ceremonies.errors import KeyroomError
from ceremonies.jobs import Job
from ceremonies.keyring import KeyEntry, Keyring, check_may_sign
from ceremonies.ledger import Ledger
from ceremonies.logkey import Unproven
from ceremonies.orders import Order, Sealed, StepRef
from ceremonies.passages import Batch, Passage, SignatureMade, attempt, repeat
from ceremonies.quorums import CeremonyOver, Governing, Mandate, demand_listed, demand_mandate
from ceremonies.reckoning import check_approvals
from ceremonies.recording import Recording
from ceremonies.recovery import settle_intents
from ceremonies.surroundings import Surroundings
from hsm.errors import HsmError, SignatureMismatch
from hsm.keys import GeneratedKey, KeyName
from hsm.series import Box
from pki.errors import PkiError
from pki.log.errors import LogError

REFUSALS = (KeyroomError, PkiError, HsmError)
MadeKey = GeneratedKey
"""What the strongbox gives for a new key; `ceremonies.keywork` imports no hsm."""


class DoorClosed(KeyroomError):
    """No roster and policy are in force, no journal key is active, or an order asks for nothing. No key is used."""

    code = "door-closed"


class Door:
    """Holds the strongbox and the keyring for the ledger's thread. `governing` is None before genesis."""

    def __init__(self, ledger: Ledger, strongbox: Box, surroundings: Surroundings, keyring: Keyring) -> None:
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

    def begin(self, jobs: Sequence[Job[Order]], ready: Batch | None = None, oldest: int | None = None) -> Batch:
        """Steps 1 to 3 of these orders, whose signatures are under way afterwards, and 5 to 7 of a batch before them.

        Each job of a finished batch has a Sealed, or the error that refused it; nothing unrecorded leaves.
        oldest: the base of the oldest batch that stays under way, if there is one.
        """
        if ready is None and oldest is None:
            self.settle()
        batch = Batch([Passage(job) for job in jobs], self.ledger.journal.size)
        mandates: dict[tuple[StepRef, str], Mandate] = {}
        for passage in batch.passages:
            attempt(passage, lambda p: self._authorise(p, mandates))  # 1 and 2
        try:
            sealed = self._record(ready, batch.passages, batch.base if oldest is None else oldest)  # 3; 6 of `ready`
        except LogError as error:
            # Nothing was written: an order has facts that no entry can hold. It must not fail the others.
            if ready is not None:
                self.finish(ready, batch.base if oldest is None else oldest)
            self._seal_apart(jobs, oldest, error)
            return Batch((), batch.base)
        batch.going = [passage for passage in batch.passages if passage.intent is not None]
        try:
            try:
                batch.signing = self.strongbox.start(list(items_to_sign(batch.going)))  # 4
            finally:
                if ready is not None:
                    self._answer(ready.passages, sealed)  # 7
        except Exception:
            self.ledger.settled = False  # the new intents are open, and nobody works on them
            raise
        if not batch.going:
            self._answer(batch.passages, {})
        return batch

    def _seal_apart(self, jobs: Sequence[Job[Order]], oldest: int | None, error: LogError) -> None:
        for job in jobs:
            try:
                if len(jobs) == 1:
                    raise error
                self.finish(self.begin([job], None, self.ledger.journal.size if oldest is None else oldest), oldest)
            except Exception as alone:  # noqa: BLE001  # whoever waits for it judges it; the next order has its turn
                job.result = alone

    def finish(self, ready: Batch, oldest: int | None = None) -> None:
        """Steps 5 to 7 of a batch. oldest: the base of the oldest batch that stays under way, if there is one."""
        self._answer(ready.passages, self._record(ready, (), oldest))

    def _record(self, ready: Batch | None, opening: Sequence[Passage], oldest: int | None) -> Mapping[int, Sealed]:
        """One transaction: T2 of a batch that was signed, T1 of the next one. Steps 3, 5 and 6.

        A crash before this commit leaves the older intents open and nothing released; after it, a retry is answered.
        """
        closing = ready.going if ready is not None else ()
        policy = self.governing.policy.digest if self.governing else "0" * 64
        self.ledger.under_way = oldest
        try:
            if ready is not None:
                take_series(ready)
            return Recording((self.ledger, self.keyring), policy, closing, opening).write()
        except Exception as error:
            # What was to be closed stays open; but a LogError may be of the new orders: `begin` tries without them.
            if closing and not (opening and isinstance(error, LogError)):
                self.ledger.settled = False
            raise

    def _authorise(self, passage: Passage, mandates: dict[tuple[StepRef, str], Mandate]) -> None:
        """The keys may sign this kind, and the quorum that the policy names has approved exactly this draft."""
        order, governing = passage.order, self.require_governing()
        kind = order.draft.kind
        if self.ledger.log_key is None and governing.genesis is None:
            raise DoorClosed("no journal key is active: nothing can be proven", hint="restore the journal's token")
        if not order.draft.to_sign:
            raise DoorClosed(f"draft {kind} names no key", hint="there is nothing to seal")
        passage.keys = [self.keyring.get(item.spki) for item in order.draft.to_sign]
        begun = order.request is not None and order.request.id in self.ledger.replay.pending
        for key in passage.keys:
            check_may_sign(key, kind)
            if not begun:  # what was begun before the CA's next generation issued is finished by the same bytes
                self.ledger.replay.generations.check_issues(key, kind)
            self.strongbox.check_ready(key.token)
        if governing.rule_for(kind, order.step.ceremony if order.step else "").m == 0:
            return
        step = order.step or StepRef("none", "none")
        if (step, kind) not in mandates:
            mandates[step, kind] = self.mandate(step, kind)
        demand_listed(mandates[step, kind], order.draft)
        passage.counted = mandates[step, kind].counted

    def _answer(self, passages: Sequence[Passage], sealed: Mapping[int, Sealed]) -> None:
        """Each document gets its proof under a checkpoint over the committed head, which covers T2: now, or when the
        job is finished.
        """
        released = dict(zip(sealed, self.ledger.prove_later(list(sealed.values())), strict=True))
        for passage in passages:
            attempt(passage, lambda p: self._answer_one(p, released))
            if passage.job.result is None:
                passage.job.result = passage.error

    def _answer_one(self, passage: Passage, released: Mapping[int, Sealed | Unproven]) -> None:
        job, verdict, request = passage.job, passage.verdict, passage.order.request
        if passage.intent is not None and passage.intent.seq in released:
            job.result = released[passage.intent.seq]
        elif isinstance(verdict, Known) and request is not None:
            job.result = self.ledger.recall(verdict.document, verdict.seq, request.id)
        elif passage.first is not None:
            job.result = repeat(passage.first.job.result)


def items_to_sign(going: Iterable[Passage]) -> Iterable[tuple[KeyName, bytes]]:
    """Which key signs which bytes, passage by passage."""
    for passage in going:
        for item, key in zip(passage.order.draft.to_sign, passage.keys, strict=True):
            yield key_name(key), item.data


def take_series(ready: Batch) -> None:
    """Wait for the signatures of a batch, once: a series gives them once.

    Raises SignatureMismatch when they are not as many as were asked for: whose each is would be a guess.
    """
    if ready.signing is None:
        return
    made, ready.signing = ready.signing.wait(), None
    count = sum(len(passage.keys) for passage in ready.going)
    if len(made) != count:
        raise SignatureMismatch(f"{len(made)} signatures for {count} items", hint="nothing was returned")
    signed = iter(made)
    for passage in ready.going:
        take_signatures(passage, [next(signed) for _ in passage.keys])


def take_signatures(passage: Passage, made: Sequence[SignatureMade]) -> None:
    """Make the document and the `out` of the outcome from the signatures of a passage, or from what they lack."""
    attempt(passage, partial(finish_document, made))  # 5
    us = sum(item.us for item in made)
    passage.out = (
        entries.out_failed(passage.error, us)
        if passage.error
        else entries.out_ok(passage.sha256, passage.signatures, us)
    )


def finish_document(made: Sequence[SignatureMade], passage: Passage) -> None:
    """Assemble the document and have it judged as its user will.

    The strongbox has verified each signature against the registered key and these bytes, so `assemble` need not.
    """
    for item in made:
        if item.error is not None:
            raise item.error
    order = passage.order
    passage.signatures = [item.raw for item in made]
    names = [item.spki for item in order.draft.to_sign]
    passage.document = order.draft.assemble(dict(zip(names, passage.signatures, strict=True)))
    passage.sha256 = hashlib.sha256(passage.document).hexdigest()
    if order.inspect is not None:
        order.inspect(passage.document)


def key_name(key: KeyEntry) -> KeyName:
    """What the strongbox needs to find a key and to know that it is the right one."""
    return KeyName(token=key.token, id=bytes.fromhex(key.cka_id), spki=key.spki, label=key.label)
