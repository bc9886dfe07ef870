"""`kedge element`: what it asks, and what it writes for the TPM's tools."""

from pathlib import Path

import msgspec
import pytest

from api.cli.element import BLOB_HEADER
from ceremonies import commands
from tests.api.answers import ELEMENT, REPLIES
from tests.api.cli.running import answer, kedge, refusal
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer


@pytest.fixture
def web(served: Served, tmp_path: Path) -> list[str]:
    (tmp_path / "token").write_text(TOKEN)
    return ["element", "--url", served.url, "--token-file", str(tmp_path / "token")]


def test_every_page_is_listed(web: list[str], peer: Peer) -> None:
    def reply(command: commands.ListElements) -> commands.ElementsListed:
        return commands.ElementsListed((ELEMENT,), "" if command.after else ELEMENT.key)

    peer.replies = {commands.ListElements: reply}
    assert len(answer(*web, "list")["elements"]) == 2
    assert "secure-element" in kedge(*web, "list").stdout


def test_a_manifest_is_looked_at_and_proposed(web: list[str], peer: Peer, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(b"[]")
    assert answer(*web, "import", path, "--dry-run")["parts"] == {"ATECC608B-TFLXTLSS": 2}
    assert not any(isinstance(request.command, commands.OpenCeremony) for request in peer.asked)
    answer(*web, "import", path, "--ceremony", "delivery-1", "--reason", "order 7")
    proposed = peer.asked[-1].command
    assert isinstance(proposed, commands.OpenCeremony)
    assert (proposed.id, proposed.action) == ("delivery-1", "elements-import")
    assert msgspec.json.decode(proposed.plan)["reason"] == "order 7"


def test_a_bad_entry_is_told_and_nothing_is_proposed(web: list[str], peer: Peer, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(b"[]")
    bad = commands.ManifestChecked({}, (commands.RefusedElement(3, "signed by nobody"),), 1)
    peer.replies = {commands.CheckManifest: bad, commands.Upload: REPLIES[commands.Upload]}
    result = kedge(*web, "import", path, "--ceremony", "delivery-1")
    assert result.exit_code == 1
    assert "signed by nobody" in result.stdout
    assert not any(isinstance(request.command, commands.OpenCeremony) for request in peer.asked)


def test_a_station_fetches_a_credential_and_hands_in_the_secret(web: list[str], peer: Peer, tmp_path: Path) -> None:
    area, endorsement, chain, secret = (tmp_path / name for name in ("key.pub", "ek.der", "ca.der", "secret"))
    for path in (area, endorsement, chain, secret):
        path.write_bytes(path.name.encode())
    out = tmp_path / "credential.blob"
    out.write_bytes(b"the credential of the unit before")
    given = answer(*web, "challenge", area, endorsement, chain, "--unit", "wo-1/BMS-1", "--out", out)
    assert given["challenge"] == "9f" * 16
    assert out.read_bytes() == BLOB_HEADER + b"blobseed"
    done = answer(*web, "activate", "9f" * 16, secret, "--unit", "wo-1/BMS-1")
    assert done["index"] == 423
    assert [request.command for request in peer.asked] == [
        commands.ChallengeTpm("wo-1", "BMS-1", b"ek.der", b"key.pub", (b"ca.der",)),
        commands.ActivateTpm("wo-1", "BMS-1", "9f" * 16, b"secret"),
    ]
    assert kedge(*web, "activate", "9f" * 16, secret, "--unit", "BMS-1").exit_code == 2
    assert refusal(*web, "activate", "x", secret, "--unit", "wo-1/BMS-1") == "fields-invalid"
