"""A journal in figures (JCS): what anybody with the entries can count again, byte for byte.

The keyroom signs no summary. It records the SHA-256 in an `export` entry, so that the entry's proof covers it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from pki.log.checkpoints import Checkpoint
from pki.log.errors import LogError
from pki.log.leaves import Leaf, parse_leaf
from pki.log.merkle import EMPTY_ROOT, Frontier, leaf_hash


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of the first `size` entries. `kinds` counts signing intents, `keys` the uses of each key by its spki."""

    v: int = 1
    log: str
    size: int
    root: str
    checkpoint: str
    first: str
    last: str
    types: dict[str, int]
    kinds: dict[str, int]
    keys: dict[str, int]
    statuses: dict[str, int]


_ENCODER = msgspec.json.Encoder(order="sorted")


class SummaryWrong(LogError):
    """A summary is not what its journal gives, or no entry records it."""

    code = "summary-wrong"


def summarize(leaves: Iterable[Leaf], head: Checkpoint, checkpoint: str) -> bytes:
    """The summary over these entries, which are those of `head`, as JCS (RFC 8785). checkpoint: the note's SHA-256."""
    types: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    keys: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    first, last = "", ""
    for leaf in leaves:
        first, last = first or leaf.ts, leaf.ts
        types[leaf.type] += 1
        if leaf.out:
            statuses[leaf.out.status] += 1
        if leaf.type == "key.sign.intent" and leaf.op and leaf.op.kind:
            kinds[leaf.op.kind] += 1
        keys.update(key.spki for key in leaf.keys or () if key.kctr and key.spki)
    summary = Summary(
        log=head.origin, size=head.size, root=head.root.hex(), checkpoint=checkpoint, first=first, last=last,
        types=dict(types), kinds=dict(kinds), keys=dict(keys), statuses=dict(statuses),
    )  # fmt: skip
    return _ENCODER.encode(summary)


def verify_summary(data: bytes, entries: Iterable[tuple[int, bytes]]) -> int:
    """Count a complete journal again, up to the summary's size. `entries`: from 0 on, verified before.

    Returns the index of the entry that records the summary's SHA-256. Raises SummaryWrong.
    """
    try:
        said = msgspec.json.decode(data, type=Summary)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SummaryWrong(f"the summary does not parse: {error}") from error
    counter = _Counter(said.size, hashlib.sha256(data).hexdigest())
    counted = summarize(counter.walk(entries), Checkpoint(said.log, 0, EMPTY_ROOT), said.checkpoint)
    found = msgspec.structs.replace(
        msgspec.json.decode(counted, type=Summary), size=counter.frontier.size, root=counter.frontier.root.hex()
    )
    if _ENCODER.encode(found) != data:
        fields = [name for name in found.__struct_fields__ if getattr(found, name) != getattr(said, name)]
        raise SummaryWrong(f"the entries give another summary: {', '.join(fields) or 'its bytes are not canonical'}")
    if counter.recorded is None:
        raise SummaryWrong("no entry of this export records the summary", hint="export again, or verify its proof")
    return counter.recorded


class _Counter:
    """Walks the entries: those of the summary for counting, the others for the one that records it."""

    def __init__(self, size: int, digest: str) -> None:
        self._size, self._digest = size, digest
        self.frontier = Frontier()
        self.recorded: int | None = None

    def walk(self, entries: Iterable[tuple[int, bytes]]) -> Iterator[Leaf]:
        for index, data in entries:
            if index < self._size:
                self.frontier = self.frontier.extend([leaf_hash(data)])
                yield parse_leaf(data)
            elif self._digest.encode() in data and parse_leaf(data).type == "export":
                self.recorded = index
