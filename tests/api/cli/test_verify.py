from pathlib import Path

import pytest

from tests.api.cli.exporting import write_export
from tests.api.cli.running import answer, kedge, refusal
from tests.pki.log.building import POLICY, sample_journal
from tests.pki.log.stories import DEVICE, SINCE, assemble_excerpt, assemble_increment, note_of, story


@pytest.fixture
def export(tmp_path: Path) -> Path:
    for name, data in sample_journal().files().items():
        path = tmp_path / "export" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "trust").write_bytes(POLICY)
    return tmp_path / "export"


@pytest.mark.req("EV-1", "AU-2")
def test_authentic_export_is_status_0(export: Path) -> None:
    value = answer("verify", export, "--trust", export.parent / "trust")
    assert value["verdict"] == "authenticated"
    assert value["size"] == len(sample_journal().entries)


def test_without_trust_it_is_status_3(export: Path) -> None:
    result = kedge("verify", export)
    assert result.exit_code == 3
    assert "consistent-not-authenticated" in result.stdout


@pytest.mark.req("AU-2", "T26")
def test_changed_entry_is_named(export: Path) -> None:
    path = export / "tile/entries/000"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    result = kedge("verify", export, "--trust", export.parent / "trust")
    assert result.exit_code == 1
    assert result.stderr.startswith("audit-failed: entry 1")
    assert result.stdout == ""


def test_surplus_files_and_links_are_refused(export: Path) -> None:
    trust = export.parent / "trust"
    (export / "stray").write_text("x")
    assert refusal("verify", export, "--trust", trust) == "audit-failed"
    (export / "stray").unlink()
    (export / "link").symlink_to(trust)
    assert refusal("verify", export, "--trust", trust) == "file-refused"


def test_what_is_no_export_or_no_policy_is_told(export: Path, tmp_path: Path) -> None:
    assert refusal("verify", tmp_path / "none") == "file-refused"
    (tmp_path / "empty").mkdir()
    assert refusal("verify", tmp_path / "empty") == "audit-failed"
    (tmp_path / "bad").write_text("nonsense here\n")
    assert refusal("verify", export, "--trust", tmp_path / "bad") == "trust-policy-invalid"


def test_every_type_and_signer_has_a_line(export: Path) -> None:
    value = answer("verify", export, "--trust", export.parent / "trust")
    lines = [line.split() for line in kedge("verify", export, "--trust", export.parent / "trust").stdout.splitlines()]
    assert all(["signers", signer] in lines for signer in value["signers"])
    assert len(value["types"]) > 1
    assert all(["types", f"{kind}:", str(count)] in lines for kind, count in value["types"].items())


@pytest.mark.req("AU-2", "AU-10")
def test_increments_and_excerpts(tmp_path: Path) -> None:
    for path, data in [("trust", POLICY), ("since", note_of(story(), SINCE))]:
        (tmp_path / path).write_bytes(data)
    increment = write_export(tmp_path / "increment", assemble_increment(story(), SINCE))
    assert refusal("verify", increment, "--trust", tmp_path / "trust") == "audit-failed"
    value = answer("verify", increment, "--trust", tmp_path / "trust", "--since", tmp_path / "since")
    assert (value["scope"], value["since"]) == ("increment", SINCE)
    excerpt = write_export(tmp_path / "excerpt", assemble_excerpt(story(), DEVICE))
    value = answer("verify", excerpt, "--trust", tmp_path / "trust")
    assert "is not shown" in value["completeness"]
    assert kedge("verify", excerpt).exit_code == 3
    (excerpt / "proven/15.json").write_bytes(story().entries[17])
    result = kedge("verify", excerpt)
    assert (result.exit_code, result.stderr[:28]) == (1, "audit-failed: entry 15: prov")
