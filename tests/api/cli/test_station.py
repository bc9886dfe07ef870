"""`kedge station`: its own key, its certificate, and stopping stations."""

import hashlib
import json
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ceremonies import commands
from tests.api.cli.running import answer, kedge, refusal
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer


@pytest.fixture
def office(served: Served, tmp_path: Path) -> list[str]:
    (tmp_path / "token").write_text(TOKEN)
    return ["station", "--url", served.url, "--token-file", str(tmp_path / "token")]


def test_a_key_is_made_once_and_named_by_its_fingerprint(tmp_path: Path) -> None:
    made = answer("station", "--identity", tmp_path / "station", "keygen")
    path = tmp_path / "station" / "key.pem"
    key = load_pem_private_key(path.read_bytes(), None)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert made == {"key": hashlib.sha256(public).hexdigest(), "file": str(path)}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    assert refusal("station", "--identity", tmp_path / "station", "keygen") == "file-refused"
    assert path.read_bytes() == before


def test_a_station_fetches_its_certificate_and_the_next_one(served: Served, peer: Peer, tmp_path: Path) -> None:
    station = ["station", "--url", served.url, "--identity", str(tmp_path)]
    answer("station", "--identity", tmp_path, "keygen")
    for _ in range(2):
        assert answer(*station, "certify", "graz-3-a")["station"] == "graz-3-a"
    command = peer.asked[0].command
    assert isinstance(command, commands.IssueStation)
    assert x509.load_der_x509_csr(command.csr).is_signature_valid
    assert (tmp_path / "certificate.pem").read_text() == "-----BEGIN CERTIFICATE-----\n"
    assert json.loads((tmp_path / "graz-3-a.leaf.json").read_text()) == {"seq": 417}
    assert "not near its end" not in kedge(*station, "certify", "graz-3-a").stdout


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_said(served: Served, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key.pem").write_bytes(content)
    station = ["station", "--url", served.url, "--identity", str(tmp_path)]
    assert refusal(*station, "certify", "graz-3-a") == "file-refused"
    assert refusal("station", "--url", served.url, "certify", "graz-3-a") == "file-refused"


@pytest.mark.usefixtures("peer")
def test_stations_are_a_table_or_json(office: list[str]) -> None:
    assert "graz-3-a  enrolled  graz   3      bms-stm32h7  2026-12-24T00:00:00Z" in kedge(*office, "list").stdout
    assert answer(*office, "list")["stations"][0]["lines"] == ["3"]


STOPS = [("suspend", commands.SuspendStation), ("revoke", commands.RevokeStation)]


@pytest.mark.req("AZ-4", "MP-11")
@pytest.mark.parametrize(("verb", "command"), STOPS)
def test_one_officer_stops_with_a_reason(office: list[str], peer: Peer, verb: str, command: type) -> None:
    answer(*office, verb, "graz-3-a", "--reason", "stolen")
    assert [request.command for request in peer.asked] == [command("graz-3-a", "stolen")]
    assert kedge(*office, verb, "graz-3-a").exit_code == 2


def test_a_directory_without_a_certificate_is_no_identity(served: Served, tmp_path: Path) -> None:
    assert refusal("station", "--url", served.url, "--identity", tmp_path, "list") == "file-refused"
