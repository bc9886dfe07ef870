import json
from pathlib import Path

import msgspec
import pytest

from api.cli.device import BODY_BYTES, split_batches
from ceremonies import commands
from tests.api.answers import DEVICE
from tests.api.cli.running import answer, kedge, refusal
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer


@pytest.mark.parametrize("data", [b"-----BEGIN CERTIFICATE REQUEST-----\n", b"\x30\x82\x01"])
def test_issue_writes_certificate_chain_entry_and_proof(
    served: Served, peer: Peer, tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "BMS-1.csr").write_bytes(data)
    web = ["device", "--url", served.url, "--token-file", str(tmp_path / "token"), "issue", str(tmp_path / "BMS-1.csr")]
    wanted = [*web, "--work-order", "wo-1", "--serial", "BMS-1", "--out", str(tmp_path / "out")]
    value = answer(*wanted)
    assert value["proven"]["index"] == 417
    assert [request.command for request in peer.asked] == [commands.IssueDevice("wo-1", "BMS-1", data)]
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {
        "BMS-1.crt.pem": b"-----BEGIN CERTIFICATE-----\n",
        "BMS-1.chain.pem": b"chain\n",
        "BMS-1.leaf.json": b'{"seq":417}',
        "BMS-1.tlog-proof": b"c2sp.org/tlog-proof@v1\nindex 417\n",
    }
    answer(*wanted)
    peer.replies = {commands.IssueDevice: commands.Problem("serial-taken", "BMS-1 has another key")}
    assert refusal(*wanted) == "serial-taken"


@pytest.mark.req("CA-5", "CA-6")
def test_the_names_of_a_device_of_ieee_2030_5_are_shown(served: Served, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "BMS-1.csr").write_bytes(b"\x30\x82\x01")
    web = ["device", "--url", served.url, "--token-file", str(tmp_path / "token"), "issue", str(tmp_path / "BMS-1.csr")]
    wanted = [*web, "--work-order", "wo-1", "--serial", "BMS-1", "--out", str(tmp_path / "out")]
    assert "LFDI" not in kedge(*wanted).stdout
    lfdi = "3e4f45ab31edfe5b67e343e5e4562e31984e23e5"
    named = msgspec.structs.replace(DEVICE, lfdi=lfdi, sfdi="167261211391")
    peer.replies = {commands.IssueDevice: named}
    assert f"LFDI {lfdi}, SFDI 167261211391" in kedge(*wanted).stdout
    value = answer(*wanted)
    assert (value["lfdi"], value["sfdi"]) == (lfdi, "167261211391")


def test_issue_all_asks_in_batches_and_tells_what_was_refused(served: Served, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "csrs").mkdir()
    count = commands.BATCH_LIMIT + 2
    for number in range(count):
        (tmp_path / "csrs" / f"BMS-{number:04}.csr").write_bytes(b"%d" % number)

    def reply(command: commands.IssueDevices) -> commands.DevicesIssued:
        devices = [msgspec.structs.replace(DEVICE, serial=item.serial) for item in command.items]
        taken = commands.Problem("serial-taken", "another key")
        return commands.DevicesIssued(
            tuple(taken if item.serial == "BMS-0101" and refusing else item for item in devices)
        )

    refusing = True
    peer.replies = {commands.IssueDevices: reply}
    web = ["device", "--url", served.url, "--token-file", str(tmp_path / "token"), "issue-all", str(tmp_path / "csrs")]
    wanted = [*web, "--work-order", "wo-1", "--out", str(tmp_path / "out")]
    result = kedge("--json", *wanted)
    assert result.exit_code == 1
    shown = json.loads(result.stdout)
    assert (shown["issued"], list(shown["refused"])) == (count - 1, ["BMS-0101"])
    assert shown["refused"]["BMS-0101"]["code"] == "serial-taken"
    asked = [request.command for request in peer.asked]
    assert [len(command.items) for command in asked if isinstance(command, commands.IssueDevices)] == [1000, 2]
    assert len(list((tmp_path / "out").iterdir())) == 4 * (count - 1)
    refusing = False
    assert answer(*wanted) == {"issued": count, "refused": {}}
    (tmp_path / "csrs" / "empty").mkdir()
    assert refusal(*web[:-1], tmp_path / "csrs" / "empty", "--work-order", "wo-1") == "file-refused"


def test_a_request_has_as_many_as_its_body_may_hold(tmp_path: Path) -> None:
    paths = [tmp_path / f"BMS-{number}.csr" for number in range(5)]
    for path in paths:
        path.write_bytes(bytes(BODY_BYTES // 4))
    assert [len(part) for part in split_batches(paths)] == [2, 2, 1]
    assert [list(part) for part in split_batches(paths[:1])] == [paths[:1]]
