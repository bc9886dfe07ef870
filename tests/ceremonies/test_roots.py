"""Roots that a box believes: the pinned one, and what a link joins to it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from api.cli.grant import list_ancestry
from ceremonies.reckoning import check_counts, check_rows
from ceremonies.replay import replay_journal
from pki.x509.pem import read_pem, write_pem
from tests.ceremonies.boxed import (
    CA,
    BoxWorld,
    bring,
    certify,
    import_plan,
    issue,
    make_grant,
    make_pair,
)
from tests.ceremonies.field import problem, propose
from tests.ceremonies.rotating import issuer_of, list_certificates, sha256, succeed, verify
from tests.world import World, audit_world

NEW, LINK = "identity-root-2", "identity-root-2@identity-root"
CN, WRONG = b"\x06\x03\x55\x04\x03", b"\x06\x03\x80\x04\x03"
"""The object identifier of commonName, in DER, and what is none."""


def ancestry(centre: World, **changes: Any) -> dict[str, Any]:
    """What the grant brings of the new root."""
    known = list_certificates(centre)
    return {"root": known[NEW].decode(), "links": [known[LINK].decode()], **changes}


def refuse(box: BoxWorld, plan: dict[str, Any]) -> str:
    told = problem(asyncio.run(propose(box, "import-x", "grant-import", plan)))
    assert told.code == "grant-refused"
    return told.message


@pytest.mark.req("RO-2", "CA-13")
def test_a_box_follows_the_root_of_its_centre_by_a_link(genesis_world: World, tmp_path: Path) -> None:
    """Its CA is certified after the switch. It takes nothing but the link's word, and keeps it over a start."""
    centre = genesis_world
    box = make_pair(centre, tmp_path / "box").box
    succeed(centre, NEW, "identity-root", days=9500)
    asyncio.run(certify(centre, box))
    asyncio.run(box.open_order())
    grant = asyncio.run(make_grant(centre))
    known = list_certificates(centre)
    assert list_ancestry(known, CA) == {"root.pem": known[NEW], "link-identity-root.pem": known[LINK]}
    broken = write_pem(read_pem(known[LINK], "CERTIFICATE").replace(CN, WRONG), "CERTIFICATE").decode()
    back, old = known[f"identity-root@{NEW}"].decode(), known["identity-root"].decode()
    for changes, told in (
        ({"root": "", "links": []}, "does not know"),
        ({"links": []}, "vouches"),
        ({"links": [back]}, "vouches"),
        ({"links": [known[CA].decode()]}, "vouches"),
        ({"links": [old]}, "lint-failed"),
        ({"root": old}, "issuer-refused"),
        ({"links": ["no PEM"]}, "malformed"),
        ({"links": [broken]}, "vouches"),
    ):
        assert told in refuse(box, import_plan(centre, grant, **ancestry(centre, **changes)))
    assert NEW not in list_certificates(box)
    shown = asyncio.run(bring(centre, box, grant, **ancestry(centre)))
    assert sha256(known[NEW]) in str(shown.steps[0])  # what its officers compare
    first = asyncio.run(issue(box, "BMS-000001"))
    box.stop()
    box.start()
    second = asyncio.run(issue(box, "BMS-000002"))
    assert issuer_of(known[CA]) == "Acme Identity Root G2"
    mine = list_certificates(box)
    assert {name: mine[name] for name in (NEW, LINK, "identity-root")} == {
        name: known[name] for name in (NEW, LINK, "identity-root")
    }
    for issued in (first, second):
        assert issued.chain == known[CA] + known[NEW]
        assert verify(tmp_path, issued.certificate, known[NEW], [mine[CA]]) == ""
        assert verify(tmp_path, issued.certificate, known["identity-root"], [mine[CA], mine[LINK]]) == ""
    later = asyncio.run(make_grant(centre, "graz-2"))
    asyncio.run(bring(centre, box, later, "graz-2", **ancestry(centre)))  # what is known is not taken twice
    assert asyncio.run(audit_world(box)).verdict == "authenticated"
    replay = replay_journal(box.room.store, box.room.ledger.journal)
    assert replay == box.room.ledger.replay and len(replay.grants.roots) == 1
    check_rows(box.room.store, replay, box.room.door.keyring)
    check_counts(box.room.store, replay)
    box.stop()
