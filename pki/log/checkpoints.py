"""The text of a checkpoint (c2sp.org/tlog-checkpoint): origin, size, root.

Kedge writes no extension lines and refuses them: nobody can audit what they say.
"""

import base64
import re

import msgspec

from pki.log.errors import CheckpointInvalid
from pki.log.merkle import EMPTY_ROOT, HASH_SIZE, MAX_SIZE
from pki.log.notes import is_key_name

_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,18})\Z", re.ASCII)


class Checkpoint(msgspec.Struct, frozen=True):
    """The head of the log `origin`: `size` leaves with this root hash. Raises CheckpointInvalid at construction."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.origin):
            raise CheckpointInvalid(f"the origin {self.origin!r} has spaces or plus signs, or is empty")
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_SIZE:
            raise CheckpointInvalid(f"{self.origin}: a size of {self.size} or a root of {len(self.root)} bytes")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise CheckpointInvalid(f"{self.origin}: the root is not that of the empty tree")

    def encode(self) -> bytes:
        """The note text that the log signs."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()


def parse_checkpoint(text: bytes) -> Checkpoint:
    """Read the text of a note as a checkpoint. Raises CheckpointInvalid."""
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError as error:
        raise CheckpointInvalid("the checkpoint is not UTF-8") from error
    if len(lines) != 4 or lines[3]:
        raise CheckpointInvalid("the checkpoint has not exactly three lines", hint="extension lines are refused")
    origin, size, root = lines[:3]
    number = parse_decimal(size)
    try:
        checkpoint = Checkpoint(origin, -1 if number is None else number, base64.b64decode(root, validate=True))
    except ValueError as error:
        raise CheckpointInvalid("the root hash is not base64") from error
    if checkpoint.encode() != text:
        raise CheckpointInvalid("the root hash is not canonical base64")
    return checkpoint


def parse_decimal(text: str) -> int | None:
    """A decimal without leading zeroes, at most 2**63 - 1; None when it is not one."""
    if not _DECIMAL.match(text) or int(text) > MAX_SIZE:
        return None
    return int(text)
