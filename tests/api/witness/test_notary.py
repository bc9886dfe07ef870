"""The witness: remembers before it answers, never goes back, keeps evidence, and survives kill -9 at every point."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.witness.notary import ClockBehind, Notary, Reply
from api.witness.records import list_evidence, origin_hash
from api.witness.settings import WitnessMisconfigured
from pki.log.checkpoints import parse_checkpoint
from pki.log.notes import parse_note, verify_note
from pki.log.witnesses import SIZE_TYPE, parse_submission, read_cosignature
from tests.pki.log.building import LOG, ORIGIN, WITNESSES
from tests.witnessing import SEED, SmallLog, make_notary

NOW = 1_700_000_000
HONEST, FORK = SmallLog(40), SmallLog(40, b"fork")


def size_of(notary: Notary) -> int:
    note = notary.show(origin_hash(ORIGIN))
    return parse_checkpoint(parse_note(note).text).size if note else 0


def cosigns(notary: Notary, old: int, new: int, log: SmallLog = HONEST) -> bool:
    reply = notary.answer(log.submit(old, new))
    if reply.status != 200:
        return False
    read_cosignature(log.note(new), reply.body, notary.vkey)
    return True


@pytest.mark.req("T26", "AU-11")
def test_growth_is_cosigned_and_remembered(tmp_path: Path) -> None:
    notary = make_notary(tmp_path, now=lambda: NOW)
    assert notary.show(origin_hash(ORIGIN)) is None
    for old, new in ((0, 5), (5, 5), (5, 9), (9, 40)):
        assert cosigns(notary, old, new)
        kept = notary.show(origin_hash(ORIGIN))
        assert kept is not None
        _, signatures = verify_note(kept, [LOG.public, notary.vkey])
        assert [item.timestamp for item in signatures] == [0, NOW]
        assert size_of(notary) == new
    assert notary.show(origin_hash("other")) is None


@pytest.mark.req("T26", "AU-11")
def test_it_never_goes_back_and_tells_where_it_is(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    assert cosigns(notary, 0, 9)
    for old, new in ((0, 5), (5, 9), (0, 9), (5, 20)):
        assert notary.answer(HONEST.submit(old, new)) == Reply(409, b"9\n", SIZE_TYPE)
    assert size_of(notary) == 9


@pytest.mark.req("T26", "AU-11")
def test_a_fork_is_refused_and_kept_as_evidence(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    assert cosigns(notary, 0, 9)
    assert notary.answer(FORK.submit(9, 20)).status == 422
    assert notary.answer(FORK.submit(9, 9)).status == 422
    assert notary.answer(FORK.submit(5, 9)).status == 409
    assert size_of(notary) == 9
    found = list_evidence(tmp_path / "state", ORIGIN)
    assert [item.name.partition("-")[0] for item in found] == ["fork", "fork", "proof"]
    for item in found:
        ours, theirs = (item / "cosigned").read_bytes(), parse_submission((item / "request").read_bytes())
        assert parse_checkpoint(verify_note(ours, [notary.vkey])[0].text).root == HONEST_ROOT
        head = parse_checkpoint(verify_note(theirs.note, [LOG.public])[0].text)
        assert head.size in (9, 20)
        assert (item / "why").read_text().strip()


HONEST_ROOT = parse_checkpoint(parse_note(HONEST.note(9)).text).root


def test_strangers_leave_no_evidence(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    assert notary.answer(b"junk").status == 400
    assert notary.answer(HONEST.submit(0, 5).replace(b"\n5\n", b"\n6\n")).status == 403
    unknown = make_notary(tmp_path / "2", logs=())
    assert unknown.answer(HONEST.submit(0, 5)).status == 404
    wrong = HONEST.submit(0, 5).replace(b"old 0\n", b"old 0\n" + b"A" * 43 + b"=\n")
    assert notary.answer(wrong).status == 422  # nothing was cosigned yet: there is nothing to fork from
    assert list_evidence(tmp_path / "state", ORIGIN) == []


def test_lines_of_strangers_are_not_kept(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    assert notary.answer(WITNESSES[0].cosign(HONEST.submit(0, 5), 7)).status in (200, 403)
    note = WITNESSES[0].cosign(HONEST.note(5), 7)
    reply = notary.answer(b"old %d\n\n" % size_of(notary) + note)
    assert reply.status == 200
    kept = notary.show(origin_hash(ORIGIN))
    assert kept is not None
    assert [item.name for item in parse_note(kept).signatures] == [ORIGIN, notary.vkey.name]


def test_a_clock_that_went_back_cosigns_nothing(tmp_path: Path) -> None:
    times = [NOW, NOW - 1, NOW]
    notary = make_notary(tmp_path, now=lambda: times.pop(0))
    assert cosigns(notary, 0, 5)
    with pytest.raises(ClockBehind):
        notary.answer(HONEST.submit(5, 9))
    assert size_of(notary) == 5
    assert cosigns(notary, 5, 9)


def test_damaged_records_are_not_believed(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    assert cosigns(notary, 0, 9)
    path = tmp_path / "state" / origin_hash(ORIGIN) / "checkpoint"
    path.write_bytes(path.read_bytes().replace(b"\n9\n", b"\n8\n"))
    with pytest.raises(WitnessMisconfigured):
        notary.answer(HONEST.submit(8, 9))
    notary._records.close()
    with pytest.raises(WitnessMisconfigured, match="another key"):
        make_notary(tmp_path)
    path.write_bytes(HONEST.note(5))
    with pytest.raises(WitnessMisconfigured):
        notary.answer(HONEST.submit(5, 9))


@pytest.mark.req("T26", "AU-11")
def test_concurrent_submissions_are_serialised(tmp_path: Path) -> None:
    """Of those that grow from one size exactly one is cosigned, whichever comes first, and nothing rolls back."""
    notary = make_notary(tmp_path)
    assert cosigns(notary, 0, 1)
    for base in (1, 11, 21):
        bodies = {base + number: HONEST.submit(base, base + number) for number in range(1, 9)}
        with ThreadPoolExecutor(8) as pool:
            replies = dict(zip(bodies, pool.map(notary.answer, bodies.values()), strict=True))
        cosigned = [new for new, reply in replies.items() if reply.status == 200]
        assert cosigned == [size_of(notary)]
        assert {reply.body for reply in replies.values() if reply.status == 409} == {b"%d\n" % cosigned[0]}
        assert cosigns(notary, cosigned[0], base + 10)


KILLED = """
import os, signal, sys, time
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from api.witness import records
from api.witness.notary import Notary
from pki.log.notes import parse_vkey

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

state, seed, name, vkey, point = sys.argv[1:]
log = parse_vkey(vkey)
key = Ed25519PrivateKey.from_private_bytes(bytes([int(seed)]) * 32)
notary = Notary((name, key), {log.name: [log]}, records.Records(Path(state)), lambda: int(time.time()))
if point == "before the write":
    records.write_file = die
elif point == "before the rename":
    Path.replace = die
elif point == "after the rename":
    real = Path.replace
    Path.replace = lambda *args: (real(*args), die())
reply = notary.answer(sys.stdin.buffer.read())
if point == "before the answer":
    die()
sys.stdout.write(str(reply.status))
"""


@pytest.mark.req("T26", "AU-11")
@pytest.mark.parametrize(
    ("point", "size"),
    [("before the write", 9), ("before the rename", 9), ("after the rename", 20), ("before the answer", 20)],
)
def test_kill_9_never_leads_back(tmp_path: Path, point: str, size: int) -> None:
    """What was or may have been given away is remembered; afterwards only growth from there is cosigned."""
    notary = make_notary(tmp_path)
    assert cosigns(notary, 0, 9)
    notary._records.close()
    facts = [str(tmp_path / "state"), str(SEED), notary.vkey.name, LOG.public.encode(), point]
    command, body = [sys.executable, "-c", KILLED, *facts], HONEST.submit(9, 20)
    done = subprocess.run(
        command, cwd=Path(__file__).parents[3], input=body, capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b""), done.stderr.decode()
    again = make_notary(tmp_path)
    assert size_of(again) == size
    assert again.answer(HONEST.submit(0, 5)).body == b"%d\n" % size
    assert again.answer(FORK.submit(size, 30)).status == 422
    assert cosigns(again, size, 40)
