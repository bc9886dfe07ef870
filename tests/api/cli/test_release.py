import hashlib
from pathlib import Path

import msgspec
import pytest

from api.cli.release import describe, read_spki
from ceremonies import commands
from tests.api.answers import PROVEN
from tests.api.cli.running import answer, kedge, refusal
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer
from tests.pki.formats.mcuboot_images import prepare, public_pem, spki


@pytest.fixture
def web(served: Served, tmp_path: Path) -> list[str]:
    (tmp_path / "token").write_text(TOKEN)
    return ["release", "--url", served.url, "--token-file", str(tmp_path / "token")]


def test_image_speaks_for_itself() -> None:
    data = prepare(counter=5).signed
    body = describe(data, "bms-stm32h7/stable")
    assert body["artefact"] == hashlib.sha256(data).hexdigest()
    assert (body["class_name"], body["channel"], body["security_version"]) == ("bms-stm32h7", "stable", 5)


def test_sign_uploads_and_writes_everything(web: list[str], peer: Peer, tmp_path: Path) -> None:
    data = prepare(counter=5).signed
    (tmp_path / "image.bin").write_bytes(data)
    answer(*web, "sign", tmp_path / "image.bin", "bms/stable", "--id", "build-417", "--out", tmp_path / "out")
    upload, sign = (request.command for request in peer.asked)
    assert isinstance(upload, commands.Upload)
    assert isinstance(sign, commands.SignRelease)
    assert (upload.data, upload.final, sign.id) == (data, True, "build-417")
    assert upload.digest == sign.artefact == hashlib.sha256(data).hexdigest()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "manifest.cose",
        "manifest.leaf.json",
        "manifest.tlog-proof",
        "signed.bin",
        "signed.leaf.json",
        "signed.tlog-proof",
    ]
    assert (tmp_path / "out/signed.bin").read_bytes() == b"\x3d\xb8"


def test_sign_may_be_repeated_while_the_journal_grows(web: list[str], peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "image.bin").write_bytes(prepare(counter=5).signed)
    arguments = ("sign", tmp_path / "image.bin", "bms/stable", "--id", "build-417", "--out", tmp_path / "out")
    answer(*web, *arguments)
    newer = msgspec.structs.replace(PROVEN, proof=PROVEN.proof + b"newer\n")
    peer.replies[commands.SignRelease] = commands.ReleaseSigned(
        "build-417", "2.3.0", b"\x3d\xb8", newer, b"\xd2", newer, True
    )
    assert answer(*web, *arguments)["replayed"]
    assert (tmp_path / "out/signed.tlog-proof").read_bytes() == newer.proof


@pytest.mark.parametrize("name", ["short", "", "-build-417", "build 417", "b" * 81])
def test_id_is_checked_before_anything_is_sent(web: list[str], peer: Peer, tmp_path: Path, name: str) -> None:
    result = kedge(*web, "sign", tmp_path / "image.bin", "bms/stable", f"--id={name}")
    assert (result.exit_code, peer.asked) == (2, [])
    assert "8 to 80" in result.stderr


@pytest.mark.parametrize("target", ["bms", "bms/", "/stable", ""])
def test_target_must_be_class_and_channel(web: list[str], tmp_path: Path, target: str) -> None:
    (tmp_path / "image.bin").write_bytes(prepare(counter=5).signed)
    assert refusal(*web, "sign", tmp_path / "image.bin", target, "--id", "build-417") == "file-refused"


@pytest.mark.usefixtures("peer")
def test_public_key_is_read_as_spki(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(public_pem(1))
    assert read_spki(tmp_path / "key.pem") == spki(1)
