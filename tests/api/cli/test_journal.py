import hashlib
from pathlib import Path

import pytest

from ceremonies import commands
from pki.log.checkpoints import Checkpoint, parse_checkpoint
from pki.log.leaves import parse_leaf
from pki.log.merkle import leaf_hash
from pki.log.notes import parse_note
from pki.log.summaries import summarize
from tests.api.cli.exporting import write_export
from tests.api.cli.running import answer, kedge, refusal
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer
from tests.pki.log.building import ORIGIN, POLICY, Journal, sample_journal
from tests.pki.log.stories import SINCE, note_of, story


def serve_export(peer: Peer, files: dict[str, bytes]) -> None:
    """The peer hands out an export in parts of ten files."""
    paths = sorted(files)

    def part(command: commands.ExportJournal) -> commands.JournalPart:
        start = int(command.cursor or 0)
        chosen = tuple((path, files[path]) for path in paths[start : start + 10])
        return commands.JournalPart(417, chosen, str(start + 10) if start + 10 < len(paths) else "")

    peer.replies = {commands.ExportJournal: part}


@pytest.mark.unmeasured
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


@pytest.mark.req("AU-10")
@pytest.mark.parametrize("way", ["http", "socket"])
def test_increments_and_parties_are_asked_for(served: Served, peer: Peer, tmp_path: Path, way: str) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "since").write_bytes(note_of(story(), SINCE))
    web = ["--url", served.url, "--token-file", str(tmp_path / "token")]
    options = web if way == "http" else ["--socket", str(served.settings.socket)]
    peer.replies = {
        kind: commands.JournalPart(305, (("checkpoint", b"x"),), "")
        for kind in (commands.ExportJournal, commands.ExportParty)
    }
    answer("journal", *options, "export", tmp_path / "a", "--since", tmp_path / "since")
    answer("journal", *options, "export", tmp_path / "b", "--party", "device:BMS-1")
    answer("journal", *options, "export", tmp_path / "c", "--party", "change:CHG:7 x")
    root = parse_checkpoint(parse_note(note_of(story(), SINCE)).text).root.hex()
    assert [request.command for request in peer.asked] == [
        commands.ExportJournal(0, "", SINCE, root),
        commands.ExportParty("device", "BMS-1"),
        commands.ExportParty("change", "CHG:7 x"),
    ]
    for bad in ("BMS-1", "officer:ada", "device:"):
        assert refusal("journal", *options, "export", tmp_path / "d", "--party", bad) == "file-refused"
    both = ("--party", "device:BMS-1", "--since", tmp_path / "since")
    assert refusal("journal", *options, "export", tmp_path / "d", *both) == "file-refused"


@pytest.mark.req("AU-10")
def test_a_summary_comes_with_its_proof_and_is_counted_again(served: Served, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    answer("journal", "--url", served.url, "--token-file", tmp_path / "token", "summary", "--out", tmp_path)
    assert (tmp_path / "summary-417.json").read_bytes() == b'{"size":417}'
    assert (tmp_path / "summary-417.tlog-proof").exists()
    journal = Journal()
    journal.add("log.start")
    head = Checkpoint(ORIGIN, 1, leaf_hash(journal.entries[0]))
    (tmp_path / "good.json").write_bytes(summarize(map(parse_leaf, journal.entries), head, "ab" * 32))
    journal.add("export", op={"what": {"summary": hashlib.sha256((tmp_path / "good.json").read_bytes()).hexdigest()}})
    export = write_export(tmp_path / "export", journal.files())
    assert answer("journal", "recount", export, tmp_path / "good.json") == {"recorded": 1}
    assert refusal("journal", "recount", export, tmp_path / "summary-417.json") == "summary-wrong"
