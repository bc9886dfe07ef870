"""Artefacts arrive in order, within limits, under their own digest."""

import asyncio
import hashlib
import os

import pytest

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
def test_the_spool_has_a_limit(genesis_world: World) -> None:
    spool = genesis_world.room.settings.spool
    for number in range(SPOOL_LIMIT):
        (spool / f"{number:064x}").write_bytes(b"x")
        os.utime(spool / f"{number:064x}", (number, number))
    assert isinstance(send(genesis_world, 0, b"x"), Uploaded)
    names = sorted(path.name for path in spool.iterdir())
    assert len(names) == SPOOL_LIMIT
    assert f"{0:064x}" not in names
    assert f"{1:064x}" in names


def test_a_spooled_file_that_was_changed_is_missing(genesis_world: World) -> None:
    (genesis_world.room.settings.spool / DIGEST).write_bytes(b"other")
    with pytest.raises(ArtefactMissing):
        read_artefact(genesis_world.room, DIGEST)
