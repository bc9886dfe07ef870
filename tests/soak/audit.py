"""What must hold of a journal after every restart, read from the database that the keyroom writes; entry by entry."""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509

from pki.log.merkle import leaf_hash
from tests.scenarios.keyrooms import judge_export
from tests.world import World

Read = Callable[[str], Sequence[tuple[Any, ...]]]
LAST = ".unknown", ".outcome"


def reader(world: World) -> Read:
    """Read the database of a world while its keyroom runs; nothing is written, and no page is moved."""
    if world.database is not None:
        return world.database.execute

    def read(query: str) -> Sequence[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{world.path / 'data' / 'kedge.db'}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()

    return read


class Audit:
    """Follows a journal. `open`: intents without an end, by index. `documents`: what outcomes released."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.size = 0
        self._last = "0" * 64
        self.types: Counter[str] = Counter()
        self.open: dict[int, tuple[str, str]] = {}
        self.uses: Counter[str] = Counter()
        self.digests: dict[str, str] = {}
        self.documents: set[str] = set()
        self.suspended: dict[str, int] = {}
        self.late = 0

    def catch_up(self) -> "Audit":
        """Read what is new."""
        for seq, leaf in self._read(f"SELECT seq, leaf FROM entry WHERE seq >= {self.size} ORDER BY seq"):
            self._take(seq, bytes(leaf))
        return self

    def _take(self, seq: int, data: bytes) -> None:
        leaf = msgspec.json.decode(data)
        assert (seq, leaf["seq"], leaf["prev"]) == (self.size, self.size, self._last), "a gap, or another chain"
        self.size, self._last = seq + 1, leaf_hash(data).hex()
        kind: str = leaf["type"]
        self.types[kind] += 1
        if kind == "log.start":
            assert not self.open, f"entry {seq}: the keyroom started with open intents {self.open}"
        if kind.endswith(".intent"):
            self._open(seq, leaf)
        elif kind.endswith(LAST):
            self._close(seq, leaf)
        elif kind == "key.state" and "out" not in leaf:
            self._change(seq, leaf)

    def _open(self, seq: int, leaf: Mapping[str, Any]) -> None:
        self.open[seq] = leaf["type"].removesuffix(".intent"), leaf.get("req", "")
        for key in leaf["keys"]:
            if "kctr" in key:
                self.uses[key["spki"]] += 1
                assert key["kctr"] == self.uses[key["spki"]], f"entry {seq}: kctr of {key['label']} has a gap"
                assert key["spki"] not in self.suspended, f"entry {seq}: {key['label']} was suspended"
        if "req" in leaf:
            digest = self.digests.setdefault(leaf["req"], leaf["op"]["digest"])
            assert digest == leaf["op"]["digest"], f"entry {seq}: other bytes for request {leaf['req']}"

    def _close(self, seq: int, leaf: Mapping[str, Any]) -> None:
        kind, request = self.open.pop(leaf["ref"]["i"])
        assert leaf["type"].rpartition(".")[0] == kind, f"entry {seq} closes another kind"
        assert leaf.get("req", "") == request, f"entry {seq} closes another request"
        if leaf.get("out", {}).get("doc"):
            self.documents.add(leaf["out"]["doc"])
        if kind == "key.sign" and any(key["spki"] in self.suspended for key in leaf["keys"]):
            self.late += 1

    def _change(self, seq: int, leaf: Mapping[str, Any]) -> None:
        for key in leaf["keys"]:
            if leaf["op"]["what"]["to"] == "suspended":
                self.suspended[key["spki"]] = seq
            else:
                self.suspended.pop(key["spki"], None)

    def check_released(self, certificates: Iterable[bytes]) -> None:
        """Nothing that a client received lacks its outcome."""
        lost = [data for data in certificates if hashlib.sha256(data).hexdigest() not in self.documents]
        assert not lost, f"{len(lost)} released certificates stand in no outcome"

    def check_sums(self) -> None:
        """Intents = outcomes + unknown, for each kind of operation."""
        for kind in ("key.sign", "key.generate", "key.destroy"):
            ends = self.types[f"{kind}.outcome"] + self.types[f"{kind}.unknown"]
            assert self.types[f"{kind}.intent"] == ends, f"{kind}: {self.types}"

    def check_names(self, issued: Mapping[str, bytes]) -> None:
        """No serial, certificate number, trust set index or counter is there twice; every client's device is there."""
        numbers = [x509.load_pem_x509_certificate(data).serial_number for data in issued.values()]
        assert len(set(numbers)) == len(numbers), "a certificate number was used twice"
        recipes = [bytes(recipe) for (recipe,) in self._read("SELECT recipe FROM request WHERE id LIKE 'order/%'")]
        drawn = [msgspec.json.decode(recipe)["number"] for recipe in recipes]
        assert len(set(drawn)) == len(drawn), "a certificate number was drawn twice"
        serials = [serial for (serial,) in self._read("SELECT serial FROM device")]
        assert len(set(serials)) == len(serials)
        assert set(issued) <= set(serials)
        indices = sorted(index for (index,) in self._read('SELECT "index" FROM trust_set'))
        assert len(set(indices)) == len(indices), "a version was used twice"


def check_whole(world: World, audit: Audit, verifier: Path) -> str:
    """The stopped world's export is accepted by others (`judge_export`), and its sums are right; what was accepted."""
    report = judge_export(world, verifier)
    audit.catch_up().check_sums()
    return f"{report.size} {report.root}"
