import subprocess
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ceremonies import commands
from pki.log.policy import parse_policy
from tests.api.answers import DIGEST, HEALTH
from tests.api.cli.running import answer, kedge, refusal
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer
from tests.pki.log.building import WITNESSES


@pytest.fixture
def web(served: Served, tmp_path: Path) -> list[str]:
    (tmp_path / "token").write_text(TOKEN)
    return ["key", "--url", served.url, "--token-file", str(tmp_path / "token")]


@pytest.mark.usefixtures("peer")
def test_list_is_a_table_or_json(web: list[str]) -> None:
    assert f"image-app-1  image-app  bms-stm32h7  p256       active  3     {DIGEST}\n" in kedge(*web, "list").stdout
    assert answer(*web, "list")["keys"][0]["public_key"] == "MFk="


@pytest.mark.req("MP-11")
def test_one_officer_suspends_with_a_reason(web: list[str], peer: Peer) -> None:
    answer(*web, "suspend", "image-app-1", "--reason", "laptop stolen")
    assert [request.command for request in peer.asked] == [commands.SuspendKey("image-app-1", "laptop stolen")]
    assert kedge(*web, "suspend", "image-app-1").exit_code == 2


def shown(label: str, role: str, public: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> commands.KeyShown:
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return commands.KeyShown(label, role, "", "", "active", DIGEST, 0, der)


@pytest.fixture
def keys(peer: Peer) -> Peer:
    journal = ed25519.Ed25519PrivateKey.from_private_bytes(b"\x07" * 32).public_key()
    image = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    waiting = msgspec.structs.replace(shown("device-ca-2", "device-ca", image), standing="pending")
    listed = (
        waiting,
        msgspec.structs.replace(waiting, label="device-ca", standing="issuing"),
        shown("image-app-1-of-a-long-name-that-no-terminal-has-room-for", "image-app", image),
        shown("journal", "journal", journal),
        msgspec.structs.replace(shown("recovery-1", "recovery", image), public_key=b""),
    )
    peer.replies[commands.ListKeys] = commands.KeysListed(listed)
    return peer


@pytest.mark.usefixtures("keys")
def test_list_cuts_nothing_and_counts_no_checkpoints(web: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    rows = {line.split()[0]: line.split() for line in kedge(*web, "list").stdout.splitlines()}
    assert "image-app-1-of-a-long-name-that-no-terminal-has-room-for" in rows
    assert rows["journal"][-2:] == ["-", DIGEST]
    assert rows["device-ca-2"][2:] == ["active,", "pending", "0", DIGEST]
    assert rows["device-ca"][2:] == ["active", "0", DIGEST]
    assert rows["recovery-1"][-2:] == ["0", DIGEST]


@pytest.mark.usefixtures("keys")
def test_export_writes_what_bootloaders_and_auditors_take(web: list[str], tmp_path: Path) -> None:
    pem = answer(*web, "export", "journal", "--out", tmp_path / "journal.pem")["text"]
    assert pem == (tmp_path / "journal.pem").read_text()
    command = ["openssl", "pkey", "-pubin", "-in", "journal.pem", "-noout", "-text"]
    assert "ED25519" in subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    vkey = kedge(*web, "export", "journal", "--format", "vkey").stdout
    policy = kedge(*web, "export", "journal", "--format", "tlog-policy").stdout
    assert policy == f"log {vkey}quorum none\n"
    (log,) = parse_policy(policy.encode()).logs
    assert (log.name, f"{log.encode()}\n") == (HEALTH.origin, vkey)
    assert log.public_key == ed25519.Ed25519PrivateKey.from_private_bytes(b"\x07" * 32).public_key().public_bytes_raw()


@pytest.mark.req("AU-2")
def test_during_an_overlap_the_trust_file_names_both_keys(web: list[str], keys: Peer) -> None:
    listed = keys.replies[commands.ListKeys]
    assert isinstance(listed, commands.KeysListed)
    halves = [ed25519.Ed25519PrivateKey.from_private_bytes(bytes([at]) * 32).public_key() for at in (8, 9)]
    new, retired = (shown(f"journal-{at}", "journal", half) for at, half in enumerate(halves))
    retired = msgspec.structs.replace(retired, state="deactivated")
    keys.replies[commands.ListKeys] = commands.KeysListed((*listed.keys, new, retired))
    found = {}
    for label in ("journal", "journal-0", "journal-1"):
        text = answer(*web, "export", label, "--format", "tlog-policy")["text"]
        found[label] = [log.public_key[:2].hex() for log in parse_policy(text.encode()).logs]
    old, young, gone = found["journal"][0], found["journal-0"][0], found["journal-1"][0]
    assert found == {"journal": [old, young], "journal-0": [young, old], "journal-1": [gone, old, young]}


def test_the_journals_key_is_exported_before_the_keyroom_is_ready(web: list[str], keys: Peer) -> None:
    """In the middle of genesis: witnesses need it before the last step."""
    keys.replies[commands.ShowHealth] = msgspec.structs.replace(HEALTH, ready=False, problems=("genesis is under way",))
    text = answer(*web, "export", "journal", "--format", "vkey")["text"]
    assert text.startswith(f"{HEALTH.origin}+")


@pytest.mark.usefixtures("keys")
def test_export_joins_the_witnesses_to_the_trust_file(web: list[str], tmp_path: Path) -> None:
    witness = WITNESSES[0].public.encode()
    (tmp_path / "witnesses").write_text(f"witness w1 {witness} https://w.example\nquorum w1\n")
    command = [*web, "export", "journal", "--format", "tlog-policy", "--witnesses", str(tmp_path / "witnesses")]
    policy = parse_policy(answer(*command)["text"].encode())
    assert (policy.quorum, policy.logs[0].name) == ("w1", HEALTH.origin)
    assert policy.witnesses == (("w1", WITNESSES[0].public),)
    (tmp_path / "witnesses").write_text("quorum w1\n")
    assert refusal(*command) == "trust-policy-invalid"


@pytest.mark.usefixtures("keys")
def test_export_refuses_what_it_cannot_be(web: list[str]) -> None:
    image = "image-app-1-of-a-long-name-that-no-terminal-has-room-for"
    assert refusal(*web, "export", image, "--format", "vkey") == "file-refused"
    assert refusal(*web, "export", "recovery-1") == "file-refused"
    assert refusal(*web, "export", "nobody") == "file-refused"


@pytest.mark.usefixtures("keys")
def test_the_operator_lists_and_exports_over_the_socket(web: list[str], served: Served) -> None:
    local = ["key", "--socket", str(served.settings.socket)]
    for verb in (["list"], ["export", "journal"], ["export", "journal", "--format", "tlog-policy"]):
        assert kedge(*local, *verb).stdout == kedge(*web, *verb).stdout
        assert answer(*local, *verb) == answer(*web, *verb)


@pytest.mark.req("AZ-3")
def test_a_key_is_not_stopped_over_the_socket(served: Served, peer: Peer) -> None:
    local = ["key", "--socket", str(served.settings.socket)]
    assert refusal(*local, "suspend", "image-app-1", "--reason", "r") == "connection-missing"
    assert peer.asked == []
