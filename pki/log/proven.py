"""Single entries of an export, each with its proof: `proven/<index>.json` (the leaf verbatim) and `.tlog-proof`.

All proofs stand under the export's one checkpoint.
"""

import re
from collections.abc import Callable, Iterable

import msgspec

from pki.errors import PkiError
from pki.log.checkpoints import Checkpoint
from pki.log.errors import AuditFailed
from pki.log.leaves import Leaf, parse_leaf
from pki.log.ledger import refuse_entry
from pki.log.merkle import leaf_hash, verify_inclusion
from pki.log.proofs import encode_proof, parse_proof

_PATH = re.compile(r"proven/(0|[1-9][0-9]{0,18})\.(json|tlog-proof)\Z", re.ASCII)


class ProvenLeaf(msgspec.Struct, frozen=True):
    """An entry that its proof has shown to stand at `index`: bytes, leaf hash, content."""

    index: int
    data: bytes
    digest: bytes
    leaf: Leaf


def proven_paths(index: int) -> tuple[str, str]:
    """The paths of an entry and of its proof."""
    return f"proven/{index}.json", f"proven/{index}.tlog-proof"


def split_proven(paths: Iterable[str]) -> tuple[tuple[int, ...], set[str]]:
    """The indexes of the proven entries, rising, and the other files. Raises AuditFailed for half a pair."""
    known, found = set(paths), set[int]()
    rest = set(known)
    for path in known:
        if match := _PATH.match(path):
            found.add(int(match[1]))
            rest.remove(path)
    for index in sorted(found):
        for path in proven_paths(index):
            if path not in known:
                raise AuditFailed(f"{path}: the file is missing", entry=index, path=path)
    return tuple(sorted(found)), rest


def read_proven(read: Callable[[str], bytes], index: int, note: bytes, head: Checkpoint) -> ProvenLeaf:
    """An entry, proven under the checkpoint `note`, which says `head`. Raises AuditFailed."""
    entry_path, proof_path = proven_paths(index)
    data, text = read(entry_path), read(proof_path)
    try:
        proof = parse_proof(text)
        if proof.checkpoint != note or encode_proof(proof.index, proof.hashes, note) != text:
            refuse_entry(index, f"{proof_path}: not under the checkpoint of this export, or with other data")
        if proof.index != index:
            refuse_entry(index, f"{proof_path}: it proves entry {proof.index}")
        verify_inclusion(leaf_hash(data), index, head.size, head.root, proof.hashes)
        leaf = parse_leaf(data)
    except AuditFailed:
        raise
    except PkiError as error:
        raise AuditFailed(f"entry {index}: {proof_path}: {error}", entry=index, path=proof_path) from error
    if (leaf.seq, leaf.log) != (index, head.origin):
        refuse_entry(index, f"it says that it is entry {leaf.seq} of {leaf.log}")
    return ProvenLeaf(index, data, leaf_hash(data), leaf)
