"""The anchor in the journal's token: a data object with the last signed checkpoint. The start must extend it.

Whoever restores yesterday's database with all files beside it cannot restore the token. The object is written when the
log gets its key, at each start and stop, at the end of each ceremony, and every `token_anchor_every_s` seconds when the
journal has grown. Every method runs on the writer's thread.
"""

import contextlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Protocol

import structlog

from ceremonies.door import REFUSALS
from ceremonies.errors import KeyroomError
from ceremonies.journal import JournalForked
from ceremonies.ledger import Ledger
from ceremonies.logkey import read_kept
from ceremonies.settings import KeyroomSettings
from pki.log.checkpoints import Checkpoint
from pki.log.notes import parse_note

log = structlog.get_logger()

LABEL: Final = "kedge-journal-head"
"""CKA_LABEL of the object; its CKA_APPLICATION is `kedge`, its CKA_VALUE the checkpoint, a C2SP signed note."""
TOKENS_ONE: Final = "the one in the token"
ALARM: Final = "token-anchor"
NEVER_S: Final = 3600.0
"""How often nothing is done, when the settings turn the anchor off."""


class AnchorUnwritten(KeyroomError):
    """The journal's token did not take the data object with the last checkpoint."""

    code = "anchor-unwritten"


class Memos(Protocol):
    """What the anchor needs of the strongbox."""

    def read_memos(self, token: str, label: str) -> Sequence[bytes]:
        """Every object of this label."""

    def write_memo(self, token: str, label: str, data: bytes) -> int:
        """Replace them by one; how many there were."""


class OpenMemos(Memos, Protocol):
    """A strongbox that was opened for this."""

    def close(self) -> None:
        """Let the tokens go."""


def read_closed(settings: KeyroomSettings, strongbox: Callable[[], OpenMemos]) -> Sequence[bytes]:
    """What the token holds, for who has no strongbox open; nothing where the settings turn the anchor off.

    Raises what opening it raises, and the faults of the token.
    """
    if not settings.token_anchor_every_s:
        return ()
    with contextlib.closing(strongbox()) as box:
        return box.read_memos(settings.token_for("journal"), LABEL)


class TokenAnchor:
    """`alarms`: where it is told what is wrong with the object while the keyroom runs."""

    def __init__(self, settings: KeyroomSettings, ledger: Ledger, memos: Memos, alarms: dict[str, str]) -> None:
        self.every_s = settings.token_anchor_every_s or NEVER_S
        self._on = settings.token_anchor_every_s > 0
        self._token = settings.token_for("journal")
        self._ledger, self._memos, self._alarms = ledger, memos, alarms
        self._size = 0

    @property
    def facts(self) -> dict[str, Any]:
        """What the entry of a start says: from here on a start without the object is refused, or, when the settings
        turned it off since the last one, that it was given up, which is an alarm.
        """
        return {"token_anchor": self._on} if self._on or self._ledger.replay.token_anchor else {}

    @property
    def places(self) -> frozenset[tuple[str, str]]:
        """Token and label of the object, which an inventory knows; also of one that is left from before."""
        return frozenset({(self._token, LABEL)})

    def notes(self) -> Sequence[bytes]:
        """What the token holds; nothing where the settings turn the anchor off. Raises the faults of the token."""
        return self._memos.read_memos(self._token, LABEL) if self._on else ()

    def read(self, excused: Collection[bytes] = ()) -> list[Checkpoint]:
        """The checkpoints in the token: two, when a replacement was cut short. The journal must extend all of them.

        excused: texts of checkpoints that officers gave up; the next write replaces them.
        Raises JournalForked when there is none, and genesis and an earlier start say that there was; what `read_kept`
        raises for one that the journal's key did not sign; and the faults of the token.
        """
        if not self._on:
            return []
        ledger = self._ledger
        notes = self.notes()
        valid = [note for note in notes if parse_note(note).text not in excused]
        found = [read_kept(note, str(self), ledger.log_key) for note in valid]
        if not notes and ledger.governed and ledger.replay.token_anchor:
            raise JournalForked(
                f"{self} is not there, and was: nothing in the token vouches for the journal's end",
                hint="find out who removed it; docs/hsm.md says how to go on without it",
            )
        self._size = max((checkpoint.size for checkpoint in found), default=0)
        return found

    def begin(self) -> None:
        """Write the object where there is none yet: before the entry that says so, or a crash between them would stop
        every start after it. Raises AnchorUnwritten.
        """
        if not self._size and (note := self._ledger.sign_checkpoint()):
            self.write(note)

    def write(self, note: bytes) -> None:
        """Have the object hold this checkpoint of the committed head. Raises AnchorUnwritten."""
        if not self._on:
            return
        try:
            self._memos.write_memo(self._token, LABEL, note)
        except REFUSALS as error:
            raise AnchorUnwritten(
                f"{error}", hint="`kedge doctor --token` tells what it can; token_anchor_every_s = 0 does without"
            ) from error
        self._size = self._ledger.journal.size

    def keep(self) -> None:
        """Bring the object up to the committed head. What is wrong with it is an alarm, and stops nothing that runs;
        an object that does not hold a checkpoint of ours is left for the next start to refuse.

        Raises JournalForked when the journal does not extend it: another keyroom uses the token, on another journal.
        """
        if not self._on or self._ledger.log_key is None or self._ledger.journal.size == self._size:
            return
        try:
            lost = not self._compare()
            self.write(self._ledger.sign_checkpoint())
        except JournalForked:
            raise
        except REFUSALS as error:
            self._tell(f"{self} could not be brought up to date: {error}")
            return
        self._tell(f"{self} was gone, and was written again" if lost else "")

    def _compare(self) -> bool:
        """Whether the object is there; the journal extends it. Raises JournalForked, and what `read_kept` raises."""
        found = self.notes()
        for note in found:
            checkpoint = read_kept(note, str(self), self._ledger.log_key)
            self._ledger.journal.check_extends(checkpoint.size, checkpoint.root, TOKENS_ONE)
        return bool(found)

    def _tell(self, why: str) -> None:
        if not why:
            self._alarms.pop(ALARM, None)
        elif self._alarms.get(ALARM) != why:
            self._alarms[ALARM] = why
            log.critical("the anchor in the token is not in order", why=why)

    def __str__(self) -> str:
        return f"data object {LABEL} of token {self._token}"
