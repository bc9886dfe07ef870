import base64
import csv
import io
import json
from pathlib import Path

import msgspec
import pytest

from ceremonies import commands
from pki.log.media import list_files
from pki.trust.sets import SetRef
from tests.api.answers import CERTIFICATES, DIGEST, GRANTS, SEALED, SETTLED
from tests.api.cli.running import answer, kedge, refusal
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer
from tests.pki.trust.fleets import MANIFEST, sign
from tests.pki.trust.messages import HASH, grant


@pytest.fixture
def web(served: Served, tmp_path: Path) -> list[str]:
    (tmp_path / "token").write_text(TOKEN)
    return ["grant", "--url", served.url, "--token-file", str(tmp_path / "token")]


def read_plan(peer: Peer) -> tuple[str, dict[str, object]]:
    """The action and the plan of the ceremony that was opened last."""
    opened = peer.asked[-1].command
    assert isinstance(opened, commands.OpenCeremony)
    return opened.action, json.loads(opened.plan)


def test_a_grant_is_proposed(web: list[str], peer: Peer) -> None:
    terms = ["box=graz-box-ca", "quantity=500", "class=bms,ems", "until=2027-01-31", "from=2026-12-01"]
    answer(*web, "make", "graz-2026-01", *terms)
    assert read_plan(peer) == (
        "grant",
        {
            "id": "graz-2026-01", "box": "graz-box-ca", "quantity": 500, "profiles": ["idevid"],
            "classes": ["bms", "ems"], "valid_from": 1_796_083_200, "valid_to": 1_801_353_600,
        },
    )  # fmt: skip
    for bad in (terms[:3], [*terms[:3], "until=soon"], ["quantity=x", *terms[:1], *terms[2:]], [*terms, "by=me"]):
        assert kedge(*web, "make", "graz-2026-01", *bad).exit_code == 2


def test_grants_are_shown(web: list[str]) -> None:
    shown = kedge(*web, "show").stdout
    assert "graz-box-ca" in shown and "in force" in shown and "2027-01-15T08:00:00+00:00" in shown


def test_what_the_box_needs_is_written_and_taken(web: list[str], peer: Peer, tmp_path: Path) -> None:
    peer.replies = {
        **peer.replies,
        commands.ListCertificates: commands.DocumentsListed(
            (
                ("graz-box-ca", DIGEST, CERTIFICATES["device-ca"]),
                ("root-1", DIGEST, CERTIFICATES["identity-root"]),
                ("root-1@root-0", DIGEST, CERTIFICATES["identity-root"]),
                ("root-0@root-1", DIGEST, CERTIFICATES["device-ca"]),
            )
        ),
    }
    medium = tmp_path / "medium"
    answer(*web, "export", "graz-2026-01", str(medium))
    written = ["ca.pem", "grant.cose", "link-root-0.pem", "root.pem", "set-0-0.cose", "set-0-1.cose"]
    assert sorted(path.name for path in medium.iterdir()) == written
    assert (medium / "grant.cose").read_bytes() == SEALED.document
    assert refusal(*web, "export", "none", str(medium)) == "file-refused"
    for number in (2, 10, 11):
        (medium / f"set-0-{number}.cose").write_bytes(b"set %d" % number)
    signed = sign(grant(set_ref=SetRef(0, 10, HASH)), MANIFEST)
    (medium / "grant.cose").write_bytes(signed)
    answer(*web, "import", str(medium), "--ceremony", "import-1")
    action, plan = read_plan(peer)
    assert (action, plan["grant"]) == ("grant-import", base64.b64encode(signed).decode())
    assert plan["trust_sets"] == [base64.b64encode(b"set 2").decode(), base64.b64encode(b"set 10").decode()]
    assert plan["certificate"] == CERTIFICATES["device-ca"].decode()
    root = CERTIFICATES["identity-root"].decode()
    assert (plan["root"], plan["links"]) == (root, [root])
    (medium / "set-x.cose").write_bytes(b"")
    assert refusal(*web, "import", str(medium), "--ceremony", "import-1") == "file-refused"


def test_the_settled_checkpoint_is_written(web: list[str], peer: Peer, tmp_path: Path) -> None:
    answer(*web, "checkpoint", "graz-box-ca", str(tmp_path / "checkpoint"))
    assert (tmp_path / "checkpoint").read_bytes() == GRANTS.boxes[0].checkpoint
    assert refusal(*web, "checkpoint", "other", str(tmp_path / "x")) == "file-refused"


def test_a_journal_is_packed_sent_and_settled(web: list[str], peer: Peer, tmp_path: Path) -> None:
    export = tmp_path / "export"
    (export / "tile").mkdir(parents=True)
    (export / "checkpoint").write_bytes(b"note")
    (export / "tile" / "000").write_bytes(b"x" * 600)
    result = kedge("--json", *web, "settle", "graz-box-ca", str(export), "--dry-run")
    assert result.exit_code == 1  # what it found is an alarm
    assert json.loads(result.stdout)["findings"][0]["code"] == "overuse"
    *sent, asked = [request.command for request in peer.asked]
    assert all(isinstance(item, commands.Upload) for item in sent)
    data = b"".join(item.data for item in sent if isinstance(item, commands.Upload))
    assert set(list_files(lambda at, size: data[at : at + size])) == {"checkpoint", "tile/000"}
    assert isinstance(asked, commands.SettleBox) and asked.dry_run
    (tmp_path / "medium.tar").write_bytes(data)
    peer.replies = {
        **peer.replies,
        commands.SettleBox: msgspec.structs.replace(SETTLED, findings=(), findings_count=0, alarm=False),
    }
    assert kedge(*web, "settle", "graz-box-ca", str(tmp_path / "medium.tar")).exit_code == 0
    assert peer.asked[-1].command == commands.SettleBox("graz-box-ca", asked.parts)


@pytest.mark.req("T37")
def test_a_spreadsheet_runs_nothing(web: list[str], peer: Peer, tmp_path: Path) -> None:
    finding = commands.FindingShown("overuse", 31, "=cmd", "number 11 of 10")
    peer.replies = {**peer.replies, commands.SettleBox: msgspec.structs.replace(SETTLED, findings=(finding,))}
    (tmp_path / "medium.tar").write_bytes(b"x")
    result = kedge(*web, "settle", "graz-box-ca", str(tmp_path / "medium.tar"), "--csv")
    (row,) = csv.DictReader(io.StringIO(result.stdout))
    assert (row["code"], row["index"], row["serial"]) == ("overuse", "31", "'=cmd")


def test_strays_are_told_and_fail(web: list[str], peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "seen.pem").write_bytes(CERTIFICATES["idevid"])
    assert answer(*web, "strays", str(tmp_path / "seen.pem"))["verdicts"][0]["state"] == "known"
    stray = commands.StrayVerdict("ab" * 20, "graz-box-ca", "stray")
    peer.replies = {**peer.replies, commands.FindStrays: commands.StraysFound((stray,))}
    assert kedge(*web, "strays", str(tmp_path / "seen.pem")).exit_code == 1
