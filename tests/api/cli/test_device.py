from pathlib import Path

import pytest

from ceremonies import commands
from tests.api.cli.running import answer, refusal
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
