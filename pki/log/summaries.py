"""A journal in figures (JCS): what anybody with the entries can count again, byte for byte.

The keyroom signs no summary. It records the SHA-256 in an `export` entry, so that the entry's proof covers it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable

import msgspec

from pki.log.leaves import Leaf


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


def summarize(leaves: Iterable[Leaf], head: tuple[str, int, bytes, bytes]) -> bytes:
    """The summary over these entries, which are the first ones of a journal. head: origin, size, root, checkpoint.

    `checkpoint` is the SHA-256 of the signed note; the bytes are a JCS object (RFC 8785).
    """
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
    origin, size, root, note = head
    summary = Summary(
        log=origin, size=size, root=root.hex(), checkpoint=hashlib.sha256(note).hexdigest(), first=first, last=last,
        types=dict(types), kinds=dict(kinds), keys=dict(keys), statuses=dict(statuses),
    )  # fmt: skip
    return _ENCODER.encode(summary)
