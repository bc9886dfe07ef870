"""A small journal of devices, orders and changes, and the exports of it that hold less than everything.

The keyroom makes such exports from its database (ceremonies/increments.py, ceremonies/parties.py); here they are made
in memory, by other code.
"""

import json
from functools import cache

from pki.log.evidence import blob_path, named_digests
from pki.log.increments import CONSISTENCY
from pki.log.leaves import Leaf, parse_leaf
from pki.log.merkle import leaf_hash
from pki.log.parties import PARTY, Party, choose_entries, encode_party
from pki.log.proofs import encode_proof
from pki.log.proven import proven_paths
from pki.log.schema import leaf_schema
from pki.log.tiles import increment_start, increment_tiles
from pki.log.tree import Tree
from pki.log.witnesses import Submission, encode_submission
from tests.pki.log.building import ED, ORIGIN, P256, P384, Files, Journal, assemble_export

SINCE = 290
"""Entry 256 begins the increment's first bundle; 256 to 289 are known, what comes after is new."""

DEVICE, ORDER, SITE, CHANGE = (
    Party("device", "BMS-1"), Party("work-order", "wo-1"), Party("site", "graz"), Party("change", "CHG-7")
)  # fmt: skip
KEY = Party("key", P256.spki)
PARTIES = (DEVICE, ORDER, SITE, CHANGE, KEY)


def device(number: int, order: str) -> dict[str, str]:
    return {"serial": f"BMS-{number}", "work_order": order}


def open_order(journal: Journal, name: str, plant: str, **fields: str) -> None:
    cer = f"order-{name}"
    journal.add("ceremony.open", cer=cer, actor={"sub": "o-1"}, op={"what": {"ceremony": cer}})
    approvals = [journal.add("approval", cer=cer, actor={"sub": f"o-{n}"}, op={"what": {"ok": True}}) for n in (1, 2)]
    counted = [{**journal.ref(index), "officer": f"o-{n}"} for n, index in enumerate(approvals, 1)]
    what = {"document": journal.blob(json.dumps({"plant": plant, "id": name}).encode()), "work_order": name}
    journal.add("quota.open", cer=cer, apr=counted, op={"what": what}, **fields)


def fill(journal: Journal, size: int) -> None:
    while len(journal.entries) < size:
        journal.add("probe", op={"what": {"n": len(journal.entries)}})


@cache
def story() -> Journal:
    """Some 320 entries. Shared: do not change it."""
    journal = Journal()
    journal.add("log.start")
    for key in (P256, P384, ED):
        journal.generate(key)
    open_order(journal, "wo-1", "graz")
    open_order(journal, "wo-2", "linz", chg="CHG-7")
    journal.sign(b"device 1", [P256], what=device(1, "wo-1"), req="r-1")
    journal.sign(b"device 2", [P256], what=device(2, "wo-2"))
    what = {"op": {"kind": "certificate.idevid", "what": device(2, "wo-1")}}  # a stranger's serial is asked of wo-1
    journal.add("key.sign.denied", out={"status": "denied", "why": "serial-unknown"}, **what)
    journal.sign(b"a set", [ED, P384], chg="CHG-7", cer="change-7")
    fill(journal, 200)
    early = journal.intend(b"device 3", [P256], what=device(3, "wo-1"))
    lost = journal.intend(b"device 4", [P256], what={**device(4, "wo-1"), "csr": journal.blob(b"request 4")})
    approval = journal.add("approval", cer="later", actor={"sub": "o-1"}, op={"what": {"ok": True}})
    fill(journal, 270)
    middle = journal.intend(b"device 5", [ED], what=device(5, "wo-1"))
    fill(journal, SINCE)
    journal.conclude(early, b"device 3", [P256])
    journal.unknown(lost)
    journal.conclude(middle, b"device 5", [ED])
    counted = [{**journal.ref(approval), "officer": "o-1"}]
    journal.sign(b"counted", [P384], apr=counted, cer="later")
    for number in range(6, 10):
        journal.sign(b"device %d" % number, [P256], what=device(number, "wo-1"))
    journal.add("export", op={"what": {"export": "journal"}})
    journal.add("log.stop")
    return journal


def tree_of(journal: Journal) -> Tree:
    tree = Tree(lambda level, index: b"")
    tree.accept(tree.stage([leaf_hash(entry) for entry in journal.entries]))
    return tree


def leaves_of(journal: Journal) -> list[tuple[int, Leaf]]:
    return [(index, parse_leaf(entry)) for index, entry in enumerate(journal.entries)]


def blobs_named(journal: Journal, indexes: set[int]) -> Files:
    """What these entries and their statements name."""
    names = {name for index in indexes for name in named_digests(journal.entries[index])} & journal.blobs.keys()
    statements = [name for name in names if journal.blobs[name].startswith(b'{"kind"')]
    names |= {inner for name in statements for inner in named_digests(journal.blobs[name])} & journal.blobs.keys()
    return {blob_path(name): journal.blobs[name] for name in names}


def prove(journal: Journal, indexes: set[int], note: bytes) -> Files:
    tree, files = tree_of(journal), Files()
    for index in indexes:
        entry, proof = proven_paths(index)
        files[entry] = journal.entries[index]
        files[proof] = encode_proof(index, tree.inclusion_proof(index, tree.size), note)
    return files


def carried_entries(journal: Journal, old: int) -> set[int]:
    """Earlier entries that the ones after `old` refer to, and the last earlier use of each key that is used again."""
    first, found = increment_start(old), set[int]()
    used: dict[str, list[int]] = {}
    for index, leaf in leaves_of(journal):
        for key in leaf.keys or ():
            if key.kctr and key.spki:
                used.setdefault(key.spki, []).append(index)
        if index >= old:
            found |= {item.i for item in leaf.apr or ()} | ({leaf.ref.i} if leaf.ref else set())
    for indexes in used.values():
        before = [index for index in indexes if index < old]
        found |= {max(before)} if before and max(indexes) >= old else set()
    return {index for index in found if index < first}


def assemble_increment(journal: Journal, old: int) -> Files:
    """What an auditor gets who has verified the first `old` entries."""
    whole, tree, size = assemble_export(journal.entries, journal.blobs), tree_of(journal), len(journal.entries)
    note = whole["checkpoint"]
    files = {tile.path: whole[tile.path] for tile in increment_tiles(old, size)}
    closed = {leaf.ref.i for index, leaf in leaves_of(journal) if index >= old and leaf.ref}
    files |= prove(journal, carried_entries(journal, old), note)
    files |= blobs_named(journal, set(range(old, size)) | closed)
    files[CONSISTENCY] = encode_submission(Submission(old, tree.consistency_proof(old, size), note))
    return files | {"checkpoint": note, "leaf.schema.json": leaf_schema()}


def assemble_excerpt(journal: Journal, party: Party) -> Files:
    """The entries of one party."""
    note, size = assemble_export(journal.entries, {})["checkpoint"], len(journal.entries)
    chosen = set(choose_entries(party, lambda: leaves_of(journal), journal.blobs.get))
    files = prove(journal, chosen, note) | blobs_named(journal, chosen)
    paper = {PARTY: encode_party(party, ORIGIN, size)}
    return files | paper | {"checkpoint": note, "leaf.schema.json": leaf_schema()}


def note_of(journal: Journal, size: int) -> bytes:
    """The cosigned checkpoint over the first entries."""
    return assemble_export(journal.entries[:size], {})["checkpoint"]
