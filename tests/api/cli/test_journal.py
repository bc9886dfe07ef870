import hashlib
from pathlib import Path

import pytest

from ceremonies import commands
from tests.api.cli.running import answer, kedge, refusal
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer
from tests.pki.log.building import POLICY, sample_journal


def serve_export(peer: Peer, files: dict[str, bytes]) -> None:
    """The peer hands out an export in parts of ten files."""
    paths = sorted(files)

    def part(command: commands.ExportJournal) -> commands.JournalPart:
        start = int(command.cursor or 0)
        chosen = tuple((path, files[path]) for path in paths[start : start + 10])
        return commands.JournalPart(417, chosen, str(start + 10) if start + 10 < len(paths) else "")

    peer.replies = {commands.ExportJournal: part}


@pytest.mark.parametrize("way", ["http", "socket"])
def test_export_is_complete_and_verifies(served: Served, peer: Peer, tmp_path: Path, way: str) -> None:
    serve_export(peer, sample_journal().files())
    (tmp_path / "token").write_text(TOKEN)
    web = ["--url", served.url, "--token-file", str(tmp_path / "token")]
    options = web if way == "http" else ["--socket", str(served.settings.socket)]
    value = answer("journal", *options, "export", tmp_path / "out")
    assert value["files"] == len(sample_journal().files())
    assert {
        request.command.size for request in peer.asked[1:] if isinstance(request.command, commands.ExportJournal)
    } == {417}
    (tmp_path / "trust").write_bytes(POLICY)
    assert answer("verify", tmp_path / "out", "--trust", tmp_path / "trust")["verdict"] == "authenticated"


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "tile/.x"])
def test_hostile_service_writes_nothing_elsewhere(served: Served, peer: Peer, tmp_path: Path, name: str) -> None:
    serve_export(peer, {name: b"x"})
    (tmp_path / "below").mkdir()
    options = ("--socket", served.settings.socket)
    assert refusal("journal", *options, "export", tmp_path / "below/out") == "file-refused"
    assert list(tmp_path.rglob("*evil*")) == []


@pytest.mark.usefixtures("peer")
def test_export_goes_into_an_empty_directory(served: Served, tmp_path: Path) -> None:
    (tmp_path / "stray").write_text("x")
    assert refusal("journal", "--socket", served.settings.socket, "export", tmp_path) == "file-refused"


def test_checkpoint_is_verbatim(served: Served) -> None:
    path = served.settings.public_dir / "journal/checkpoint"
    path.parent.mkdir(parents=True)
    path.write_text("kedge.example/journal\n1\nAA==\n\n— kedge.example/journal AAAA\n")
    assert kedge("journal", "--url", served.url, "checkpoint").stdout == path.read_text()


def test_proof_is_found_by_the_documents_digest(served: Served, peer: Peer, tmp_path: Path) -> None:
    document = tmp_path / "BMS-1.pem"
    document.write_bytes(b"certificate")
    answer("journal", "--url", served.url, "proof", document, "--out", tmp_path / "out")
    assert [request.command for request in peer.asked] == [
        commands.ShowProof(hashlib.sha256(b"certificate").hexdigest())
    ]
    assert (tmp_path / "out/BMS-1.leaf.json").read_bytes() == b'{"seq":417}'
