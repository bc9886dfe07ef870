"""Witnesses and journal against implementations that are not ours: the PyPI packages aics-witness and aics-tlog."""

import asyncio
import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from ceremonies.journal import JournalForked
from pki.log.merkle import leaf_hash
from pki.log.notes import parse_note, parse_vkey
from pki.log.policy import parse_policy, verify_checkpoint
from pki.log.tiles import parse_bundle
from pki.log.witnesses import read_cosignature
from tests.ceremonies.conftest import factory_template, genesis_template
from tests.pki.log.building import LOG, ORIGIN
from tests.witnessed import log_vkey
from tests.witnessing import SmallLog, make_notary, serving
from tests.world import World, copy_world, export_journal, issue_device, make_request, soft_keys

__all__ = ["factory_template", "genesis_template"]

BIN = Path(__file__).parents[2] / ".tools" / "witness" / "bin"


def run(program: str, *arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """A program of the foreign environment; `make tools` installs it."""
    return subprocess.run(
        [BIN / program, *map(str, arguments)], input=text, capture_output=True, text=True, check=False, timeout=60
    )


def judge(*arguments: str | Path) -> dict[str, Any]:
    """What aics-tlog says."""
    done = run("aics-tlog", *arguments)
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["ok"] == (done.returncode == 0)
    return report


@dataclass
class Foreign:
    """A running aics-witness."""

    config: Path
    vkey: str
    url: str

    def policy(self) -> str:
        """It alone is the quorum."""
        return f"witness foreign {self.vkey} {self.url}\nquorum foreign\n"


@pytest.fixture
def foreign(factory_template: World, tmp_path: Path) -> Iterator[Foreign]:
    """aics-witness, which knows the journal of the templates and the small log."""
    config = tmp_path / "aics" / "witness.json"
    config.parent.mkdir()
    made = run("aics-witness", "init", "--config", config, "--name", "aics.example/w1")
    assert made.returncode == 0, made.stderr
    vkey = next(word for word in made.stdout.split() if word.startswith("aics.example/w1+"))
    key = log_vkey(factory_template)
    added = run("aics-witness", "add-log", "--config", config, "--origin", key.name, "--vkey", key.encode())
    assert added.returncode == 0, added.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(BIN / "aics-witness"), "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and child.poll() is None:
            try:
                httpx.get(f"{url}/healthz")
                break
            except httpx.ConnectError:
                time.sleep(0.05)
        yield Foreign(config, vkey, url)
        child.terminate()


@pytest.fixture
def world(factory_template: World, tmp_path: Path, foreign: Foreign) -> Iterator[World]:
    """A started keyroom whose quorum is the foreign witness."""
    made = copy_world(factory_template, tmp_path / "world")
    made.witnesses = foreign.policy()
    made.start()
    yield made
    made.stop()


@pytest.mark.req("AU-2", "T26")
def test_a_foreign_witness_cosigns_our_journal_and_a_foreign_tool_verifies_the_export(
    world: World, foreign: Foreign, tmp_path: Path
) -> None:
    first = world.room.witnesses.latest
    asyncio.run(world.open_order("wo-2"))
    files = asyncio.run(export_journal(world))
    for path, data in files.items():
        target = tmp_path / "export" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    vkey = log_vkey(world).encode()
    head = verify_checkpoint(parse_policy(f"log {vkey}\n{foreign.policy()}".encode()), files["checkpoint"])
    assert head.witnesses[0][0] == "foreign"
    trust = ["--log-key", vkey, "--witness-key", foreign.vkey, "--quorum", "1", "--origin", ORIGIN]
    export = tmp_path / "export"
    assert judge("verify-checkpoint", "--note", export / "checkpoint", *trust)["ok"]
    assert judge("verify-checkpoint", "--tiles", export, *trust)["ok"]
    (tmp_path / "first").write_bytes(first.note)
    assert judge("verify-consistency", "--tiles", export, "--old-checkpoint", tmp_path / "first", *trust)["ok"]
    entries = parse_bundle(files[f"tile/entries/000.p/{head.checkpoint.size}"], head.checkpoint.size)
    for index in (0, head.checkpoint.size // 2, head.checkpoint.size - 1):
        leaf = ["--leaf-hash", leaf_hash(entries[index]).hex(), "--tiles", str(export)]
        assert judge("verify-inclusion", "--index", str(index), *leaf, *trust)["ok"]
        assert not judge("verify-inclusion", "--index", str(index - 1 if index else 1), *leaf, *trust)["ok"]
    bare = [line for line in files["checkpoint"].splitlines(keepends=True) if b"aics.example" not in line]
    (export / "checkpoint").write_bytes(b"".join(bare))
    assert not judge("verify-checkpoint", "--note", export / "checkpoint", *trust)["ok"]


@pytest.mark.req("T26", "AU-11")
def test_a_foreign_witness_stops_yesterdays_database(world: World, tmp_path: Path) -> None:
    world.stop()
    for name in ("data", "public"):
        shutil.copytree(world.path / name, tmp_path / "yesterday" / name)
    memos = dict(soft_keys(world).memos)
    world.start()
    asyncio.run(issue_device(world, 1, make_request()))
    asyncio.run(world.room.witnesses.advance())
    world.stop()
    for name in ("data", "public"):
        shutil.rmtree(world.path / name)
        shutil.copytree(tmp_path / "yesterday" / name, world.path / name)
    soft_keys(world).memos.update(memos)
    with pytest.raises(JournalForked, match="has cosigned"):
        world.start()


CLIENT = """
import base64, json, sys
from aics_witness.feeder import FeederError, WitnessClient

url, vkey, *_ = sys.argv[1:]
with WitnessClient(url, vkey, max_attempts=1) as client:
    for step in json.load(sys.stdin):
        proofs = {int(old): [base64.b64decode(item) for item in proof] for old, proof in step["proofs"].items()}
        try:
            line = client.submit(step["note"], lambda old, new: proofs[old], old_size=step["old"])
            print(json.dumps({"line": line}))
        except FeederError as error:
            print(json.dumps({"error": type(error).__name__, "status": getattr(error, "status", 0)}))
"""


def submission(log: SmallLog, old: int, new: int) -> dict[str, Any]:
    """A step for the foreign client, with proofs from every size that the witness may name."""
    proofs = {
        str(size): [base64.b64encode(item).decode() for item in log.tree.consistency_proof(size, new)]
        for size in range(new + 1)
    }
    return {"old": old, "note": log.note(new).decode(), "proofs": proofs}


@pytest.mark.req("T26", "AU-11")
def test_our_witness_serves_a_foreign_log(tmp_path: Path) -> None:
    honest, fork = SmallLog(40), SmallLog(40, b"fork")
    notary = make_notary(tmp_path)
    steps = [
        submission(honest, 0, 9), submission(honest, 9, 20), submission(honest, 0, 30), submission(honest, 30, 30),
        submission(honest, 5, 7), submission(fork, 30, 35), submission(fork, 30, 30),
    ]  # fmt: skip
    with serving(notary) as url:
        done = run("python", "-c", CLIENT, url, notary.vkey.encode(), text=json.dumps(steps))
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for step, answer in zip(steps[:4], found[:4], strict=True):
        assert read_cosignature(step["note"].encode(), answer["line"].encode(), notary.vkey)
    assert [item["error"] for item in found[4:]] == ["WitnessAhead", "WitnessRejected", "WitnessRejected"]
    assert [item["status"] for item in found[5:]] == [422, 422]
    note = tmp_path / "cosigned"
    note.write_bytes(honest.note(30) + found[3]["line"].encode())
    trust = ["--log-key", LOG.public.encode(), "--witness-key", notary.vkey.encode(), "--quorum", "1"]
    assert judge("verify-checkpoint", "--note", note, *trust)["ok"]
    assert len(parse_note(note.read_bytes()).signatures) == 2
    assert parse_vkey(notary.vkey.encode()) == notary.vkey
