"""The whole demo: what it leaves, what it refused, and that the journal knows every file that a key made."""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.cli.demo.command import change_entry, prepare_output
from api.cli.errors import FileRefused
from api.cli.main import app
from pki.log.tiles import parse_bundle
from tests.api.cli.demo.conftest import ROOT
from tests.interop.test_journal_foreign import judge

SERIALS = [f"BMS-{number:06}" for number in range(1, 21)]
FILES = [
    *(f"ca/{name}.pem" for name in ("identity-root", "device-ca", "site-ca")),
    *(f"devices/{serial}.{kind}.pem" for serial in SERIALS for kind in ("csr", "crt", "chain")),
    *(f"images/{name}.bin" for name in ("unsigned", "signed", "transition", "after")),
    *(f"images/image-app-{number}.pub.pem" for number in (1, 2)),
    *(f"trust/{name}.cose" for name in ("set-0-0", "set-0-1", "transition-index", "counter-update-1", "birth-package")),
    *(f"trust/manifest-{version}.cose" for version in ("2.3.0", "2.4.0", "2.5.0")),
    *(f"proofs/{serial}.{kind}" for serial in SERIALS for kind in ("tlog-proof", "leaf.json")),
    *("approvals/allowed_signers", "journal/checkpoint", "journal-trust", "journal.vkey"),
]
MADE_BY_KEYS = [
    name for name in FILES if name.startswith(("ca/", "trust/")) or name.endswith((".crt.pem", ".pub.pem"))
] + [f"images/{name}.bin" for name in ("signed", "transition", "after")]
REFUSALS = {
    "serial-taken",
    "key-known",
    "quota-exhausted",
    "proof-of-possession-failed",
    "profile-forbids",
    "version-increases",
    "security-version-holds",
    "policy-refuses",
    "workload",
    "gate-closed",
    "set-ref-mismatch",
    "sequence-stale",
    "replay-changes-nothing",
    "below-trust-floor",
    "slot-does-not-boot",
}


def leaves(out: Path) -> list[dict[str, Any]]:
    """Every entry of the exported journal, in order."""
    found: list[dict[str, Any]] = []
    for path in sorted((out / "journal/tile/entries").rglob("*")):
        if path.is_file():
            width = int(path.name) if path.parent.name.endswith(".p") else 256
            found += [json.loads(entry) for entry in parse_bundle(path.read_bytes(), width)]
    return found


def test_every_file_is_there_with_its_digest(demo_out: Path, summary: dict[str, Any]) -> None:
    assert [name for name in FILES if name not in summary["sha256"]] == []
    assert len([name for name in summary["sha256"] if name.startswith("receipts/")]) >= 20
    present = {path.relative_to(demo_out).as_posix() for path in demo_out.rglob("*") if path.is_file()}
    assert present - set(summary["sha256"]) == {"summary.json"}
    for name, digest in summary["sha256"].items():
        assert hashlib.sha256((demo_out / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.req("FS-9", "AU-3")
def test_the_journal_has_an_outcome_for_every_file_that_a_key_made(demo_out: Path, summary: dict[str, Any]) -> None:
    outcomes = {leaf["out"]["doc"]: leaf for leaf in leaves(demo_out) if leaf.get("out", {}).get("doc")}
    missing = [name for name in MADE_BY_KEYS if summary["sha256"][name] not in outcomes]
    assert missing == []
    assert all(leaf["out"]["status"] == "ok" and leaf["out"]["sigs"] for leaf in outcomes.values())


def test_receipts_are_named_by_their_batches(demo_out: Path, summary: dict[str, Any]) -> None:
    taken = {
        sha for leaf in leaves(demo_out) if leaf["type"] == "receipt.batch" for sha in leaf["op"]["what"]["accepted"]
    }
    assert {sha for name, sha in summary["sha256"].items() if name.startswith("receipts/")} <= taken


def test_everything_that_must_be_refused_was_refused_by_its_rule(summary: dict[str, Any]) -> None:
    assert {item["rule"] for item in summary["refused"]} >= REFUSALS
    statuses = {item["rule"]: item["status"] for item in summary["refused"]}
    assert (statuses["serial-taken"], statuses["key-known"], statuses["quota-exhausted"]) == (409, 409, 409)
    assert (statuses["proof-of-possession-failed"], statuses["profile-forbids"]) == (400, 422)


@pytest.mark.req("AU-2", "EV-1")
def test_the_export_is_verified_by_go_and_by_ours(demo_out: Path, verifier: Path) -> None:
    vkey = (demo_out / "journal.vkey").read_text().strip()
    status, text = judge(verifier, "export", demo_out / "journal", vkey)
    assert (status, text.split()[:2]) == (0, ["ok", str(len(leaves(demo_out)))])
    done = CliRunner().invoke(app, ["verify", str(demo_out / "journal"), "--trust", str(demo_out / "journal-trust")])
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(app, ["verify", str(demo_out / "journal")]).exit_code == 3


@pytest.mark.req("AU-2")
@pytest.mark.parametrize("index", [0, 17, 150])
def test_one_changed_byte_is_named_by_its_entry(demo_out: Path, tmp_path: Path, index: int) -> None:
    copy = tmp_path / "journal"
    shutil.copytree(demo_out / "journal", copy)
    change_entry(copy, index)
    done = CliRunner().invoke(app, ["verify", str(copy), "--trust", str(demo_out / "journal-trust")])
    assert done.exit_code == 1
    assert f"entry {index}" in done.output


def test_no_pin_and_no_private_key_is_left(demo_out: Path) -> None:
    for path in demo_out.rglob("*"):
        if path.is_file():
            assert b"PRIVATE KEY" not in path.read_bytes(), path


def test_only_a_demo_s_output_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileRefused):
        prepare_output(tmp_path)
    assert (tmp_path / "mine.txt").exists()
    prepare_output(tmp_path / "new")
    prepare_output(tmp_path / "new")


def test_without_imgtool_it_says_what_to_do(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "out"), "--imgtool", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert "make tools" in done.output


def test_the_printed_commands_work_as_they_stand(demo_out: Path) -> None:
    page = (demo_out.parent / "demo.done").read_text().replace("\\\n", "")
    lines = [line for line in page.splitlines() if re.match(r"(cd|openssl|ssh-keygen|\S*imgtool|\S*kedge) ", line)]
    assert len(lines) == 5
    done = subprocess.run(["bash", "-ec", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
