"""The verbs against an API with a protocol peer: files, logbook, exit statuses (and tests/scenarios/test_line.py)."""

import json
from pathlib import Path
from typing import Any

import pytest

from api.cli.provisioning import service
from api.cli.provisioning.logbook import opened
from ceremonies import commands
from tests.api.answers import PROVEN
from tests.api.cli.provisioning.devices import CHAIN, NONCE, Unit
from tests.api.cli.running import kedge
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer

UNITS = {f"S-{number}": Unit(f"S-{number}") for number in range(3)}


class Place:
    """A station with a token, requests of UNITS in `csr`, and a service."""

    def __init__(self, path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.url, self.out = path, url, path / "out"
        (path / "token").write_text(TOKEN)
        (path / "csr").mkdir()
        for serial, unit in UNITS.items():
            (path / "csr" / f"{serial}.csr").write_bytes(unit.csr)
        monkeypatch.setenv("KEDGE_LOGBOOK", str(path / "logbook"))

    def run(self, *arguments: object, status: int = 0, url: str = "") -> list[dict[str, Any]]:
        """`kedge station ...`: its lines."""
        station = ["station", "--url", url or self.url, "--token-file", str(self.path / "token")]
        done = kedge("--json", *station, *map(str, arguments))
        assert done.exit_code == status, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    def issue(self, *more: object, status: int = 0, url: str = "") -> list[dict[str, Any]]:
        """Ask for all."""
        words = ("issue", self.path / "csr", "--order", "wo-1", "--out", self.out, *more)
        return self.run(*words, status=status, url=url)


@pytest.fixture
def place(served: Served, peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    peer.replies[commands.IssueDevices] = certify
    peer.replies[commands.ConfirmDevices] = confirm
    monkeypatch.setattr(service, "FIRST_PAUSE", 0.01)
    return Place(tmp_path, served.url, monkeypatch)


def certify(command: commands.IssueDevices) -> commands.DevicesIssued:
    units = [UNITS[item.serial] for item in command.items]
    return commands.DevicesIssued(
        tuple(
            commands.DeviceIssued(
                unit.serial, unit.certificate.encode(), CHAIN.encode(), "01", False, PROVEN, None, None, NONCE
            )
            for unit in units
        )
    )


def confirm(command: commands.ConfirmDevices) -> commands.DevicesConfirmed:
    return commands.DevicesConfirmed(
        tuple(commands.DeviceConfirmed(item.serial, 420, replayed=False) for item in command.items)
    )


def states(lines: list[dict[str, Any]]) -> dict[str, str]:
    return {item["serial"]: item.get("code", item["state"]) for item in lines}


def test_issue_confirm_and_again(place: Place, peer: Peer) -> None:
    assert states(place.issue()) == dict.fromkeys(UNITS, "answered")
    assert place.issue()[0]["replayed"] is True
    assert len(peer.asked) == 1
    for serial, unit in UNITS.items():
        (place.out / f"{serial}.readback").write_text(unit.certificate + CHAIN)
        (place.out / f"{serial}.sig").write_bytes(unit.sign())
    assert states(place.run("confirm", place.out / "S-1.readback")) == {"S-1": "answered"}
    for _ in range(2):
        assert states(place.run("confirm", place.out)) == dict.fromkeys(UNITS, "answered")
    asked = [request.command for request in peer.asked]
    confirmed = [
        [item.serial for item in command.items] for command in asked if type(command) is commands.ConfirmDevices
    ]
    assert confirmed == [["S-1"], ["S-0", "S-2"]]  # who is confirmed is not asked again
    (standing,) = place.run("status")
    assert (standing["queued"], standing["answered"], standing["requests"]) == (0, 6, [])
    assert len(place.run("status", "--all")[0]["requests"]) == 6


def test_without_a_service_requests_wait_and_other_content_does_not_pass(place: Place, peer: Peer) -> None:
    nowhere = "http://127.0.0.1:1"
    assert states(place.issue("--wait", "0", status=4, url=nowhere)) == dict.fromkeys(UNITS, "service-away")
    (place.path / "csr" / "S-1.csr").write_bytes(Unit("S-1").csr)
    again = place.issue("--wait", "0", status=5, url=nowhere)
    assert [item["code"] for item in again if item["serial"] == "S-1"] == ["pending-differs", "service-away"]
    assert place.run("status", status=4)[0]["sent"] == 3
    assert states(place.run("resume")) == dict.fromkeys(UNITS, "answered")
    asked = peer.asked[-1].command
    assert isinstance(asked, commands.IssueDevices)
    assert [item.csr for item in asked.items] == [unit.csr for unit in UNITS.values()]
    assert place.run("resume") == []


def test_the_service_says_what_to_do(place: Place, peer: Peer) -> None:
    known = commands.Problem("key-known", "cloned", "quarantine the unit")
    peer.replies[commands.IssueDevices] = lambda command: commands.DevicesIssued(
        (certify(command).answers[0], known, certify(command).answers[2])
    )
    assert states(place.issue(status=6)) == {"S-0": "answered", "S-1": "key-known", "S-2": "answered"}
    peer.replies[commands.IssueDevices] = commands.Problem("station-suspended", "no")
    assert place.issue(status=8)[-1]["state"] == "sent"
    peer.replies[commands.IssueDevices] = commands.Problem("token-expired", "no")
    assert place.run("resume", status=7)[-1]["state"] == "sent"
    peer.replies[commands.IssueDevices] = certify
    assert states(place.run("resume")) == {"S-1": "answered"}


def test_a_busy_service_is_asked_again(place: Place, peer: Peer) -> None:
    count = 0

    def reply(command: commands.IssueDevices) -> Any:
        nonlocal count
        count += 1
        busy = commands.Problem("station-too-fast", "wait", details={"retry_after": 1})
        return busy if count == 1 else certify(command)

    peer.replies[commands.IssueDevices] = reply
    assert states(place.issue()) == dict.fromkeys(UNITS, "answered")
    assert count == 2


def test_a_logbook_in_use_or_of_nobody(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(place.path / "logbook"):
        place.issue(status=9)
    (place.path / "logbook").write_bytes(b"x" * 64 + b" []\n" * 2)
    place.run("resume", status=9)
    monkeypatch.delenv("KEDGE_LOGBOOK")
    place.run("resume", status=1)


def test_people_see_a_table(place: Place) -> None:
    web = ["station", "--url", place.url, "--token-file", str(place.path / "token")]
    words = ["issue", str(place.path / "csr"), "--order", "wo-1", "--out", str(place.out)]
    done = kedge(*web, *words)
    assert (done.exit_code, done.stdout.strip(), done.stderr) == (0, "3 done, 0 refused, 0 waiting", "")
    assert "answered" in kedge(*web, "status", "--all").stdout
    assert kedge(*web, "issue", str(place.path / "csr"), "--order", "../x", "--out", str(place.out)).exit_code == 1
    assert kedge(*web, "issue", "--order", "wo-1").exit_code == 2
