import socket
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from ceremonies.checkups import (
    Checked,
    check_database,
    check_directories,
    check_disk,
    check_feed,
    check_files,
    check_mode,
    check_place,
    check_remote,
    check_synchronised,
    check_token_anchor,
    check_witnesses,
    find_worst,
)
from ceremonies.settings import FeedPlace, KeyroomSettings, RemotePlace
from pki.log.notes import WITNESS_KEY, VerifierKey
from tests.ceremonies.authorities import Authority
from tests.ceremonies.templates import Templates
from tests.postgres import Cluster
from tests.world import World, copy_world

NOW_US = 4_000_000_000_000_000


@pytest.fixture
def place(genesis_template: World, tmp_path: Path) -> World:
    """A stopped keyroom after genesis."""
    return copy_world(genesis_template, tmp_path / "world")


def by_check(findings: "list[Checked]") -> dict[str, Checked]:
    return {item.check: item for item in findings}


def test_the_worst_decides() -> None:
    well, warning = Checked("a", "well", ""), Checked("b", "warning", "")
    unknown, failing = Checked("c", "unknown", ""), Checked("d", "failing", "")
    assert find_worst([well]) == "well"
    assert find_worst([well, warning]) == "warning"
    assert find_worst([warning, unknown]) == "unknown"
    assert find_worst([unknown, failing, well]) == "failing"
    assert find_worst([]) == "unknown"


def test_a_keyroom_after_genesis_is_well(place: World) -> None:
    found = by_check(list(check_place(place.settings(), NOW_US)))
    grades = {check: item.grade for check, item in found.items()}
    assert grades.pop("time source") in ("well", "warning", "unknown")
    assert grades.pop("disk") in ("well", "warning")
    assert grades.pop("witnesses") == "warning"  # quorum none
    assert set(grades.values()) == {"well"}
    assert found["journal"].found.split()[0].isdigit()
    assert found["schema"].found.startswith("version 0")


@pytest.mark.req("AU-6")
@pytest.mark.parametrize(("free", "grade"), [(50 << 20, "failing"), (500 << 20, "warning"), (5 << 30, "well")])
def test_a_disk_that_fills_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, grade: str) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    assert check_disk(tmp_path).grade == grade


def test_a_place_where_nothing_is_yet_warns(tmp_path: Path, place: World) -> None:
    settings = msgspec.structs.replace(place.settings(), data=tmp_path / "none", public=tmp_path / "none")
    assert {item.grade for item in check_directories(settings)} == {"warning"}
    assert [item.grade for item in check_database(settings, NOW_US)] == ["warning"]
    assert check_disk(settings.data).grade != "unknown"


@pytest.mark.parametrize(
    ("mode", "secret", "grade"),
    [(0o600, True, "well"), (0o640, True, "failing"), (0o640, False, "well"), (0o620, False, "failing")],
)
def test_permissions(tmp_path: Path, mode: int, secret: bool, grade: str) -> None:
    path = tmp_path / "file"
    path.touch(mode=0o600)
    path.chmod(mode)
    found = check_mode("file", path, secret=secret)
    assert (found.grade, found.found) == (grade, f"{path}, mode {mode:04o}")
    assert check_mode("file", tmp_path / "none", secret=True).grade == "failing"


@pytest.mark.req("AU-7")
def test_a_journal_from_the_future_fails(place: World) -> None:
    found = by_check(list(check_database(place.settings(), 0)))
    assert found["clock"].grade == "failing"
    assert "no key is used" in found["clock"].found


@pytest.mark.parametrize(("version", "grade"), [("0001", "warning"), ("9999", "failing")])
def test_schemas_of_other_releases(place: World, version: str, grade: str) -> None:
    settings = place.settings()
    with sqlite3.connect(settings.data / "kedge.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    connection.close()
    assert by_check(list(check_database(settings, NOW_US)))["schema"].grade == grade


def test_a_broken_database_fails(place: World) -> None:
    path = place.settings().data / "kedge.db"
    for beside in path.parent.glob("kedge.db-*"):
        beside.unlink()
    path.write_bytes(b"no database at all" * 1000)
    assert by_check(list(check_database(place.settings(), NOW_US)))["database's content"].grade == "failing"


@pytest.mark.parametrize(("kind", "grade"), [("ext4", "well"), ("nfs4", "failing"), ("fuse.sshfs", "failing")])
def test_sqlite_on_a_network_fails(tmp_path: Path, kind: str, grade: str) -> None:
    mounts = f"/dev/root / ext4 rw 0 0\nserver:/x {tmp_path} {kind} rw 0 0\nbroken\n"
    assert check_files(tmp_path / "kedge.db", mounts).grade == grade


def test_postgresql_is_judged_by_its_settings(
    templates: Templates, cluster: Cluster, place: World, tmp_path: Path
) -> None:
    def settings(url: str) -> KeyroomSettings:
        return msgspec.structs.replace(place.settings(), database=url)

    empty = cluster.create()
    found = by_check(list(check_database(settings(empty.url), NOW_US)))
    assert found["database"].grade == "well"
    assert found["schema"].grade == "warning"
    assert found["journal"].found.startswith("empty")
    away = "postgresql://nobody@127.0.0.1:1/kedge"
    assert [item.grade for item in check_database(settings(away), NOW_US)] == ["unknown"]
    secret = "postgresql://nobody:secret@127.0.0.1:1/kedge"
    answer = list(check_database(settings(secret), NOW_US))
    assert [item.grade for item in answer] == ["failing"]
    assert "secret@" not in answer[0].found


def test_the_kernel_tells_about_the_clock() -> None:
    assert check_synchronised().grade in ("well", "warning", "unknown")


def test_witnesses_are_connected_to(place: World) -> None:
    names = ["w1.example", "w2.example"]
    keys = [VerifierKey(name, WITNESS_KEY, bytes([at]) * 32) for at, name in enumerate(names, 1)]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        lines = [f"witness {name} {key.encode()} http://127.0.0.1:{port if at == 0 else 1}" for at, (name, key) in
                 enumerate(zip(names, keys, strict=True))]  # fmt: skip
        one = "\n".join([*lines, "group g 1 w1.example w2.example", "quorum g", ""])
        all_of_them = one.replace("group g 1", "group g all")

        def judge(policy: str) -> Checked:
            return check_witnesses(msgspec.structs.replace(place.settings(), witnesses=policy))

        assert judge(one).grade == "warning"
        assert "w2.example: " in judge(one).found
        assert judge(all_of_them).grade == "failing"
        assert judge("quorum nobody\n").grade == "failing"


def test_feeds_are_checked_and_nothing_is_sent(tmp_path: Path) -> None:
    assert check_feed(FeedPlace("log", f"file:{tmp_path / 'events'}")).grade == "well"
    assert not (tmp_path / "events").exists()
    wrong = check_feed(FeedPlace("siem", "https://siem.example/in"))
    assert (wrong.check, wrong.grade) == ("feed siem", "failing")
    assert "no secret_file" in wrong.found


@pytest.mark.parametrize(("days", "grade"), [(-0.01, "failing"), (20, "warning"), (100, "well")])
def test_certificates_for_other_machines_that_end_are_told(tmp_path: Path, days: float, grade: str) -> None:
    files = Authority(tmp_path).issue("keyroom.example", days=days)
    place = RemotePlace("127.0.0.1:0", files.certificate, files.key, files.ca, ("dns:api.example",))
    now_us = time.time_ns() // 1000
    found = by_check(list(check_remote(place, now_us)))
    assert {check: item.grade for check, item in found.items()} == {
        "remote": "well", "remote's certificate": grade, "remote's authorities": "well"
    }  # fmt: skip
    files.key.chmod(0o640)
    (only,) = check_remote(place, now_us)
    assert (only.grade, "chmod 0400" in only.found) == ("failing", True)


def test_a_token_without_an_anchor_warns(place: World) -> None:
    assert check_token_anchor(place.settings()).grade == "well"
    off = check_token_anchor(msgspec.structs.replace(place.settings(), token_anchor_every_s=0))
    assert (off.grade, "token_anchor_every_s" in off.found) == ("warning", True)
