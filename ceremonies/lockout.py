"""Wrong PINs in a row, counted over starts: SoftHSM never locks a token, and a supervisor would try for ever.

The count lies in a file in the keyroom's data directory, because a wrong PIN ends the start before anything else can
remember it. The next start that succeeds writes into the journal what the file says, and removes it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
import structlog
from msgspec import Meta

from ceremonies import entries
from ceremonies.errors import KeyroomError
from ceremonies.ledger import Ledger
from ceremonies.orders import Actor
from ceremonies.public import write_file

log = structlog.get_logger()
Opened = TypeVar("Opened")

LIMIT: Final = 5
MAX_REASON: Final = 200
WRONG: Final = frozenset({"CKR_PIN_INCORRECT", "CKR_PIN_INVALID", "CKR_PIN_LEN_RANGE"})
"""What a token says of a PIN that was wrong; an expired or locked one was not tried."""


class KeyroomLocked(KeyroomError):
    """Five starts in a row gave a wrong PIN. No PIN is tried until an operator clears it."""

    code = "keyroom-locked"


class NothingLocked(KeyroomError):
    """There is no wrong PIN to clear, or no reason was given."""

    code = "nothing-locked"


class WrongStarts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Starts in a row with a wrong PIN, and what operators cleared in between: (count, uid, reason)."""

    count: Annotated[int, Meta(ge=0)] = 0
    cleared: tuple[tuple[int, int, str], ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """What the journal says of them."""
        cleared = [{"reason": reason, "starts": starts, "uid": uid} for starts, uid, reason in self.cleared]
        return {"wrong_pin_starts": self.count, **({"cleared": cleared} if cleared else {})}


class Lockout:
    """The count in a file. A file that says nothing sensible locks."""

    def __init__(self, data: Path) -> None:
        self.path = data / "wrong-pins"

    def read(self) -> WrongStarts:
        """What is counted. A file that cannot be read counts as locked."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=WrongStarts)
        except FileNotFoundError:
            return WrongStarts()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return WrongStarts(LIMIT)

    def admit(self) -> None:
        """Before a PIN is tried. Raises KeyroomLocked."""
        count = self.read().count
        if count >= LIMIT:
            raise KeyroomLocked(
                f"{count} starts in a row gave a wrong PIN",
                hint="find out who changed the PIN, correct the PIN file, then: kedge unlock --reason TEXT",
            )

    def open(self, opening: Callable[[], Opened]) -> Opened:
        """Open the tokens, unless that is locked, and count this start if its PIN is wrong. Raises KeyroomLocked."""
        self.admit()
        try:
            return opening()
        except Exception as error:
            if getattr(error, "rv", "") in WRONG:
                log.critical("wrong PIN", starts_in_a_row=self.count_wrong(), limit=LIMIT, why=str(error))
            raise

    def record(self, ledger: Ledger, by: Actor) -> None:
        """After a good start: tell the journal of the wrong ones and of who cleared them, and count anew."""
        counted = self.read()
        if counted != WrongStarts():
            ledger.record([entries.event("auth.fail", by, counted.facts)])
            self.path.unlink(missing_ok=True)

    def count_wrong(self) -> int:
        """One more start with a wrong PIN; how many in a row. Durable when it returns."""
        before = self.read()
        after = msgspec.structs.replace(before, count=before.count + 1)
        self._write(after)
        return after.count

    def clear(self, uid: int, reason: str) -> int:
        """An operator lets the keyroom try again; how many wrong starts that forgives. Raises NothingLocked."""
        before = self.read()
        words = reason.strip()
        if not before.count:
            raise NothingLocked("no start gave a wrong PIN since the last good one", hint="just start the keyroom")
        if not words.isascii() or not words.isprintable() or not 0 < len(words) <= MAX_REASON:
            raise NothingLocked(
                "the reason does not fit", hint=f"say in 1 to {MAX_REASON} printable ASCII characters what happened"
            )
        self._write(WrongStarts(0, (*before.cleared, (before.count, uid, words))[-LIMIT:]))
        return before.count

    def _write(self, counted: WrongStarts) -> None:
        write_file(self.path, msgspec.json.encode(counted))
