"""What the door writes: the outcomes of a batch that is signed (T2) and the intents of the next one (T1), together.

One transaction for both: a crash before its commit leaves the older batch's intents open and nothing of the newer one;
after it the older batch's answers may leave, and the newer batch's names are spent.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
from sqlalchemy import Connection

from ceremonies import entries
from ceremonies.claims import Claim, Same, claim_changes, count_grants, count_quotas, decide_claims
from ceremonies.errors import KeyroomError
from ceremonies.journal import RESTORE, EntryDraft, JournalForked, Placed
from ceremonies.keyring import Keyring
from ceremonies.ledger import Ledger
from ceremonies.orders import EnrolmentUnderWay, Rider, Sealed
from ceremonies.passages import Follows, Passage, attempt, intent_blobs, keep, outcome_changes
from ceremonies.store import Update
from ceremonies.tables import KeyRow


class Recording:
    """`policy`: digest of the policy in force. `closing`: passages whose signatures are there. `opening`: new ones."""

    def __init__(
        self, books: tuple[Ledger, Keyring], policy: str, closing: Sequence[Passage], opening: Sequence[Passage]
    ) -> None:
        self._ledger, self._keyring = books
        self._policy = policy
        self._closing = closing
        self._opening = opening
        self._entered: list[Passage] = []
        self._uses = {key.spki: key.uses for passage in opening for key in passage.keys}
        self._quotas: dict[str, int] = {}
        self._grants: dict[str, int] = {}
        self._riders: list[Rider] = []

    def write(self) -> dict[int, Sealed]:
        """Commit. Returns what is sealed by the index of its intent: only what is durable.

        Afterwards each opening passage has its verdict, and an intent if it may go on. Raises what the ledger raises.
        """
        sealed: dict[int, Sealed] = {}
        count = len(self._closing)

        def follow(placed: Sequence[Placed]) -> Follows:
            opened = len(placed) - len(self._entered)
            follows: Follows = ([], [])
            self._close(placed[:count], sealed, follows)
            self._ride(placed[count:opened], follows)
            self._open(placed[opened:], follows)
            return follows

        placed = self._ledger.commit(self._decide, follow, settles=self._ledger.settled)
        for name, uses in self._grown().items():
            self._keyring.put(msgspec.structs.replace(self._keyring.get(name), uses=uses))
        opened = placed[len(placed) - len(self._entered) :]
        for passage, at in zip(self._entered, opened, strict=True):
            passage.intent = at if passage.error is None else None
        return sealed

    def _decide(self, connection: Connection) -> Sequence[EntryDraft]:
        going = [(p, p.intent) for p in self._closing if p.intent is not None]
        # Composed here: nothing comes between what they look at and this commit.
        self._riders = compose_riders([passage for passage, _ in going])
        closing = [entries.sign_outcome(p.order, intent, p.keys, p.out) for p, intent in going]
        allowed = [passage for passage in self._opening if passage.error is None]
        replay = self._ledger.replay
        verdicts = decide_claims(connection, [p.order for p in allowed], replay.quotas, replay.grants)
        for passage, verdict in zip(allowed, verdicts, strict=True):
            passage.verdict = verdict
            if isinstance(verdict, KeyroomError):
                passage.error = verdict
            elif isinstance(verdict, Same):
                passage.first = allowed[verdict.position]
            elif isinstance(verdict, Claim) and verdict.earlier is not None:
                attempt(passage, partial(self._check_again, verdict.earlier))
        decided = [(p.order, p.verdict) for p in allowed]
        self._quotas, self._grants = count_quotas(connection, decided), count_grants(connection, decided)
        self._entered = [p for p in self._opening if p.error is not None or isinstance(p.verdict, Claim)]
        riding = [draft for rider in self._riders for draft in rider.drafts]
        return [*closing, *riding, *(self._intent(passage) for passage in self._entered)]

    def _check_again(self, earlier: int, passage: Passage) -> None:
        """What is sealed again is what the earlier intent of the same request named. Raises JournalForked."""
        _, leaf = self._ledger.read_entry(earlier)
        order = passage.order
        if not leaf.op or leaf.op.digest != order.draft.digest or order.request is None or leaf.req != order.request.id:
            raise JournalForked(f"entry {earlier} is no intent of this request for these bytes", hint=RESTORE)

    def _intent(self, passage: Passage) -> EntryDraft:
        if passage.error is not None:
            return entries.sign_denied(passage.order, self._policy, passage.error)
        for key in passage.keys:
            self._uses[key.spki] += 1
        counts = [(key, self._uses[key.spki]) for key in passage.keys]
        return entries.sign_intent(passage.order, counts, self._policy, passage.counted)

    def _close(self, placed: Sequence[Placed], sealed: dict[int, Sealed], follows: Follows) -> None:
        for passage, at in zip(self._closing, placed, strict=True):
            if passage.error is None and passage.intent is not None:
                document = Sealed(passage.document, passage.sha256, at.seq, at.leaf, b"")
                sealed[passage.intent.seq] = document
                follows[0].extend(outcome_changes(passage.order, document))
                keep(passage.order, at.seq, [document.document], follows)

    def _ride(self, placed: Sequence[Placed], follows: Follows) -> None:
        left = list(placed)
        for rider in self._riders:
            count = len(rider.drafts)
            follows[0].extend(rider.changes(left[:count]))
            del left[:count]

    def _open(self, placed: Sequence[Placed], follows: Follows) -> None:
        claimed = [(p.order, p.verdict, at.seq) for p, at in zip(self._entered, placed, strict=True) if p.error is None]
        follows[0].extend(claim_changes(claimed, self._quotas, self._grants))
        follows[0].extend(Update(KeyRow, {"spki": name}, {"uses": count}) for name, count in self._grown().items())
        for order, _, seq in claimed:
            keep(order, seq, intent_blobs(order), follows)

    def _grown(self) -> Mapping[str, int]:
        return {name: count for name, count in self._uses.items() if count != self._keyring.get(name).uses}


def compose_riders(closing: Sequence[Passage]) -> list[Rider]:
    """What goes with these outcomes. When it cannot be composed the document is held back, and no other order fails.

    Of two about one device the later one is held back: it cannot see what the other is about to change.
    """
    riders: list[Rider] = []
    told: set[str] = set()
    for passage in closing:
        order = passage.order
        if passage.error is not None or order.rider is None:
            continue
        try:
            if order.name in told:
                raise EnrolmentUnderWay(f"another request of {order.name} is under way", hint="send the request again")
            riders.append(order.rider())
            told.add(order.name)
        except Exception as error:  # noqa: BLE001  # as in `attempt`
            passage.error, passage.out = error, entries.out_failed(error, passage.out["us"])
    return riders
