"""Artefacts arrive in order, within limits, under their own digest."""

import asyncio
import hashlib
import os
import threading
from pathlib import Path

import pytest

from ceremonies import uploads
from ceremonies.commands import ARTEFACT_LIMIT, CHUNK_SIZE, Problem, Upload, Uploaded
from ceremonies.uploads import SPOOL_LIMIT, ArtefactMissing, read_artefact
from tests.ceremonies.examples import read_leaves
from tests.world import REPOSITORY, World

DATA = bytes(range(256)) * 12_000
DIGEST = hashlib.sha256(DATA).hexdigest()


def send(world: World, offset: int, data: bytes, *, final: bool = False, token: str = "") -> Uploaded | str:
    """One chunk: what is there, or the code of the refusal."""
    answer = asyncio.run(world.try_ask(Upload(DIGEST, offset, data, final), "pipeline", token))
    if isinstance(answer, Problem):
        return answer.code
    assert isinstance(answer, Uploaded)
    return answer


def test_chunks_make_an_artefact(genesis_world: World) -> None:
    parts = [DATA[at : at + CHUNK_SIZE] for at in range(0, len(DATA), CHUNK_SIZE)]
    assert len(parts) == 3
    for number, part in enumerate(parts):
        with pytest.raises(ArtefactMissing, match="was not uploaded"):
            read_artefact(genesis_world.room, DIGEST)
        found = send(genesis_world, number * CHUNK_SIZE, part, final=number == 2)
        assert found == Uploaded(DIGEST, min(len(DATA), (number + 1) * CHUNK_SIZE), number == 2)
    assert read_artefact(genesis_world.room, DIGEST) == DATA
    assert send(genesis_world, 0, b"anything") == Uploaded(DIGEST, len(DATA), complete=True)
    assert read_artefact(genesis_world.room, DIGEST) == DATA
    taken = [leaf["op"]["what"] for leaf in read_leaves(genesis_world) if leaf["type"] == "quota.spool"]
    assert [(what["artefact"], what["complete"]) for what in taken] == [
        (DIGEST, False),
        (DIGEST, False),
        (DIGEST, True),
    ]


def test_chunks_come_in_order(genesis_world: World) -> None:
    assert send(genesis_world, 5, b"x") == "upload-refused"
    assert send(genesis_world, 0, b"abc") == Uploaded(DIGEST, 3, complete=False)
    assert send(genesis_world, 2, b"c") == "upload-refused"
    assert send(genesis_world, 3, b"d") == "upload-refused"
    assert send(genesis_world, 0, b"abc") == Uploaded(DIGEST, 3, complete=False)
    assert send(genesis_world, 0, b"a") == Uploaded(DIGEST, 1, complete=False)


def test_another_digest_is_refused_and_forgotten(genesis_world: World) -> None:
    assert send(genesis_world, 0, DATA[:100], final=True) == "upload-refused"
    assert list(genesis_world.room.settings.spool.iterdir()) == []
    assert send(genesis_world, 0, DATA[:CHUNK_SIZE]) == Uploaded(DIGEST, CHUNK_SIZE, complete=False)


@pytest.mark.req("T19")
def test_an_artefact_has_a_limit(genesis_world: World) -> None:
    for number in range(ARTEFACT_LIMIT // CHUNK_SIZE):
        assert isinstance(send(genesis_world, number * CHUNK_SIZE, bytes(CHUNK_SIZE)), Uploaded)
    assert send(genesis_world, ARTEFACT_LIMIT, b"x") == "upload-refused"
    assert list(genesis_world.room.settings.spool.iterdir()) == []


def test_callers_do_not_spoil_each_other(genesis_world: World) -> None:
    other = genesis_world.token("pipeline", **REPOSITORY, sub="another")
    assert isinstance(send(genesis_world, 0, DATA[:CHUNK_SIZE]), Uploaded)
    assert isinstance(send(genesis_world, 0, b"evil", token=other), Uploaded)
    assert send(genesis_world, 4, b"evil", final=True, token=other) == "upload-refused"
    rest = DATA[CHUNK_SIZE : 2 * CHUNK_SIZE]
    assert isinstance(send(genesis_world, CHUNK_SIZE, rest), Uploaded)


@pytest.mark.req("T19")
def test_the_spool_has_a_limit_for_each_caller(genesis_world: World) -> None:
    """Whoever sends too much loses his own oldest, and nobody else's."""
    spool, other = genesis_world.room.settings.spool, genesis_world.token("pipeline", **REPOSITORY, sub="another")
    assert isinstance(send(genesis_world, 0, DATA[:1], token=other), Uploaded)
    (theirs,) = spool.iterdir()
    os.utime(theirs, (0, 0))
    assert isinstance(send(genesis_world, 0, DATA[:1]), Uploaded)
    (mine,) = set(spool.iterdir()) - {theirs}
    for number in range(1, SPOOL_LIMIT):
        path = spool / mine.name.replace(DIGEST, f"{number:064x}").removesuffix(".part" if number % 2 else "")
        path.write_bytes(b"x")
        os.utime(path, (number, number))
    assert len(list(spool.iterdir())) == SPOOL_LIMIT + 1
    answer = asyncio.run(genesis_world.try_ask(Upload("0" * 64, 0, b"x", False), "pipeline"))
    assert isinstance(answer, Uploaded)
    names = {path.name for path in spool.iterdir()}
    assert len(names) == SPOOL_LIMIT + 1
    assert {theirs.name, mine.name} < names
    assert not [name for name in names if name.startswith(f"{1:064x}")]
    assert [name for name in names if name.startswith(f"{2:064x}")]


def test_the_same_artefact_of_two_callers(genesis_world: World) -> None:
    spool, other = genesis_world.room.settings.spool, genesis_world.token("pipeline", **REPOSITORY, sub="another")
    data = b"an artefact"
    command = Upload(hashlib.sha256(data).hexdigest(), 0, data, True)
    for token in ("", other):
        asyncio.run(genesis_world.ask(command, "pipeline", Uploaded, token))
    first, second = spool.iterdir()
    for path in (first, second):
        assert read_artefact(genesis_world.room, command.digest) == data
        path.write_bytes(b"spoilt")
    with pytest.raises(ArtefactMissing):
        read_artefact(genesis_world.room, command.digest)


def test_an_artefact_is_hashed_beside_the_loop(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real, threads = uploads.finish_part, []

    def finish(part: Path, done: Path, digest: str) -> None:
        threads.append(threading.current_thread())
        real(part, done, digest)

    monkeypatch.setattr(uploads, "finish_part", finish)
    data = b"an artefact"
    command = Upload(hashlib.sha256(data).hexdigest(), 0, data, True)
    asyncio.run(genesis_world.ask(command, "pipeline", Uploaded))
    assert len(threads) == 1
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("name", [DIGEST, f"{DIGEST}.somebody", f"{DIGEST}.somebody.part"])
def test_a_spooled_file_that_was_changed_is_missing(genesis_world: World, name: str) -> None:
    (genesis_world.room.settings.spool / name).write_bytes(b"other")
    with pytest.raises(ArtefactMissing):
        read_artefact(genesis_world.room, DIGEST)
