"""Time-stamps of checkpoints: asked for, verified, kept, exported; an authority that fails stops nothing."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ceremonies import stamping as module
from ceremonies.cosigned import list_stamps, newest_stamp
from ceremonies.process import surroundings
from ceremonies.settings import AuthorityPlace, SettingsInvalid
from ceremonies.stamping import (
    MAX_OFF_S,
    RETRY_S,
    StampFailed,
    Stamping,
    ask_authority,
    list_authorities,
    read_authority,
)
from tests.api.cli.exporting import write_export
from tests.api.cli.running import answer, refusal
from tests.ceremonies.fetching import fetch_increment
from tests.stamping import POLICY, StampAuthority
from tests.world import World, copy_world, export_journal, issue_device, make_request


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StampAuthority]:
    with StampAuthority(tmp_path_factory.mktemp("tsa") / "one").serving() as serving:
        yield serving


@pytest.fixture(autouse=True)
def well(authority: StampAuthority) -> None:
    authority.mode = "well"


def place(authority: StampAuthority, policy: str = "") -> AuthorityPlace:
    return AuthorityPlace(authority.url, authority.path / "root.pem", policy)


def ask(authority: AuthorityPlace, off_s: int = 0) -> bytes:
    """A time-stamp of a keyroom whose clock is off by so many seconds."""
    return asyncio.run(ask_authority(read_authority(authority), b"note", surroundings().now_us() + off_s * 1_000_000))


@pytest.fixture
def world(factory_template: World, authority: StampAuthority, tmp_path: Path) -> Iterator[World]:
    """With one authority in its settings."""
    world = copy_world(factory_template, tmp_path / "world")
    world.start(msgspec.structs.replace(world.settings(), timestamp_authorities=(place(authority),)))
    yield world
    world.stop()


def stamped(world: World) -> list[int]:
    return [item.size for item in list_stamps(world.room.store, 0, 1 << 40)]


@pytest.mark.req("EV-1", "EV-2")
def test_the_newest_checkpoint_is_stamped_when_it_is_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    chore = Stamping(world.room)
    first = world.room.ledger.journal.size
    asyncio.run(chore.turn())
    assert (stamped(world), world.room.counters["stamps"]) == ([first], 1)
    asyncio.run(issue_device(world, 1, make_request()))
    asyncio.run(chore.turn())
    assert stamped(world) == [first], "not yet"
    monkeypatch.setattr(chore, "_due_us", 0)
    asyncio.run(chore.turn())
    assert stamped(world) == [first, world.room.ledger.journal.size]
    asked = list(stamped(world))
    again = Stamping(world.room)
    asyncio.run(again.turn())
    assert stamped(world) == asked, "nothing new, nothing stamped; also after a start"
    assert newest_stamp(world.room.store) == world.room.ledger.journal.size


@pytest.mark.req("EV-1", "EV-2")
def test_an_export_holds_stamps_that_openssl_and_kedge_verify(
    world: World, authority: StampAuthority, tmp_path: Path
) -> None:
    chore = Stamping(world.room)
    note = world.room.ledger.sign_checkpoint()
    asyncio.run(chore.turn())
    (size,) = stamped(world)
    asyncio.run(issue_device(world, 1, make_request()))
    files = asyncio.run(export_journal(world))
    export = write_export(tmp_path / "export", files)
    checkpoint = export / "checkpoints" / str(size)
    assert checkpoint.read_bytes() == note
    command = ["openssl", "ts", "-verify", "-data", str(checkpoint), "-in", f"{checkpoint}.tsr"]
    command += ["-CAfile", str(authority.path / "root.pem")]
    assert "Verification: OK" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
    log_key = world.room.ledger.log_key
    assert log_key is not None
    trust = tmp_path / "trust"
    policy = f"log {log_key.vkey.encode()}\nquorum none\n".encode()
    trust.write_bytes(policy + (authority.path / "root.pem").read_bytes())
    report = answer("verify", export, "--trust", trust)
    assert report["stamps"][0].startswith(f"{size} entries: existed before 20")
    trust.write_bytes(policy)
    assert answer("verify", export, "--trust", trust)["stamps"] == [
        f"{size} entries: a time-stamp that was not verified"
    ]
    trust.write_bytes(policy + (authority.path / "root.pem").read_bytes())
    Path(f"{checkpoint}.tsr").write_bytes(authority.stamp(b"another checkpoint"))
    assert refusal("verify", export, "--trust", trust) == "audit-failed"
    increment = asyncio.run(fetch_increment(world, note))
    assert [path for path in increment if path.endswith(".tsr")] == [], "the auditor has it"


@pytest.mark.parametrize("mode", ["refuses", "redirects", "page", "huge", "garbage", "imprint", "old", "slow"])
def test_an_authority_that_fails_is_told_and_stops_nothing(
    world: World, authority: StampAuthority, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASK_S", 0.5 if mode == "slow" else 10.0)
    authority.mode = mode
    chore, asked = Stamping(world.room), authority.asked
    asyncio.run(chore.turn())
    assert authority.asked == asked + 1, "no redirect is followed"
    assert stamped(world) == []
    counters = world.room.counters
    assert (counters["stamp_failures"], counters["stamps_failing"], world.room.alarms) == (1, 1, {})
    asyncio.run(issue_device(world, 1, make_request()))
    authority.mode = "well"
    asyncio.run(chore.turn())
    assert stamped(world) == [], f"asked again after {RETRY_S} s"
    chore._due_us = 0
    asyncio.run(chore.turn())
    assert (len(stamped(world)), counters["stamps_failing"]) == (1, 0)


@pytest.mark.parametrize("mode", ["imprint", "old", "garbage"])
def test_why_a_stamp_is_refused_is_told(authority: StampAuthority, mode: str) -> None:
    authority.mode = mode
    why = {"imprint": "Nonce mismatch|Mismatch between", "old": "Nonce mismatch", "garbage": "no time-stamp"}[mode]
    with pytest.raises(StampFailed, match=why):
        ask(place(authority))


def test_another_policy_or_another_root_is_refused(authority: StampAuthority, tmp_path: Path) -> None:
    ask(place(authority, POLICY))
    with pytest.raises(StampFailed, match="Policy ID mismatch"):
        ask(place(authority, f"{POLICY}.9"))
    other = AuthorityPlace(authority.url, StampAuthority(tmp_path / "other").path / "root.pem")
    with pytest.raises(StampFailed, match="verifying certificates"):
        ask(other)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_authority_that_lies_about_the_time_is_refused(authority: StampAuthority, sign: int) -> None:
    ask(place(authority), sign * (MAX_OFF_S - 30))
    with pytest.raises(StampFailed, match="not our time"):
        ask(place(authority), sign * (MAX_OFF_S + 30))


def test_the_next_authority_stamps_when_the_first_is_away(world: World, authority: StampAuthority) -> None:
    away = AuthorityPlace("http://127.0.0.1:1/tsa", authority.path / "root.pem")
    settings = msgspec.structs.replace(world.settings(), timestamp_authorities=(away, place(authority)))
    world.stop()
    world.start(settings)
    asyncio.run(Stamping(world.room).turn())
    assert len(stamped(world)) == 1
    assert (world.room.counters["stamp_failures"], world.room.counters["stamps_failing"]) == (1, 0)


def test_without_authorities_nothing_is_asked(genesis_world: World) -> None:
    asyncio.run(Stamping(genesis_world.room).turn())
    assert stamped(genesis_world) == []


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("http://stamps.example/tsa", {}),
        ("ftp://127.0.0.1/tsa", {}),
        ("https://user:secret@stamps.example/", {}),
        ("https://stamps.example/#here", {}),
        ("https://", {}),
        ("https://stamps.example/", {"policy": "one"}),
        ("https://stamps.example/", {"ca": Path("/nonexistent")}),
        ("https://stamps.example/", {"certificates": Path("/nonexistent")}),
    ],
)
def test_settings_that_are_not_safe_are_refused(
    genesis_template: World, authority: StampAuthority, url: str, more: dict[str, Path | str]
) -> None:
    good = AuthorityPlace("https://stamps.example/tsa", authority.path / "root.pem")
    settings = genesis_template.settings()
    assert len(list_authorities(msgspec.structs.replace(settings, timestamp_authorities=(good,)))) == 1
    bad = msgspec.structs.replace(good, url=url, **more)
    with pytest.raises(SettingsInvalid, match="time-stamping authority"):
        list_authorities(msgspec.structs.replace(settings, timestamp_authorities=(bad,)))
