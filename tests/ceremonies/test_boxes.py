"""A site box: bound at genesis, opened by a grant, and closed beyond it."""

import asyncio
import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ceremonies.boxes import check_box, refuse_grant
from ceremonies.certified import load_authority
from ceremonies.claims import GrantOver
from ceremonies.commands import (
    DeviceIssued,
    DeviceScrapped,
    DocumentsListed,
    IssueDevice,
    ListCertificates,
    Problem,
    ScrapDevice,
)
from ceremonies.errors import KeyroomError
from ceremonies.issuance import load_order
from ceremonies.journal import JournalForked
from ceremonies.plans import GenesisPlan, PlanMalformed, read_plan
from ceremonies.reckoning import check_rows
from ceremonies.trustsets import newest_set
from pki.errors import PkiError
from tests.ceremonies.boxed import (
    CA,
    GRANT,
    Pair,
    bring,
    import_plan,
    issue,
    make_grant,
    make_pair,
    prepare_pair,
    read_document,
    read_set,
)
from tests.ceremonies.field import problem, propose, rotation_plan
from tests.ceremonies.revoking import read_list, turn
from tests.ceremonies.small import act
from tests.ceremonies.templates import Templates
from tests.engines import Engine, tamper
from tests.world import World, copy_world, make_request


@pytest.mark.unmeasured
@pytest.mark.engines
@pytest.mark.req("CA-13", "T4")
def test_200_requests_for_the_last_ten_certificates_give_exactly_ten(
    templates: Templates, engine: Engine, tmp_path: Path
) -> None:
    """The work order has room for all of them: it is the grant that refuses."""
    centre = copy_world(templates.genesis(), tmp_path / "centre").start()
    pair = make_pair(centre, tmp_path / "box", engine.database())
    asyncio.run(prepare_pair(pair, quantity=12))
    requests = [(f"BMS-{number:06}", make_request()) for number in range(1, 203)]

    async def ask_all() -> list[Any]:
        for serial, csr in requests[:2]:
            await issue(pair.box, serial, csr)
        asked = [IssueDevice("wo-1", serial, csr) for serial, csr in requests[2:]]
        return list(await asyncio.gather(*(pair.box.try_ask(command, "station") for command in asked)))

    answers = asyncio.run(ask_all())
    assert len({answer.certificate for answer in answers if isinstance(answer, DeviceIssued)}) == 10
    assert {answer.code for answer in answers if isinstance(answer, Problem)} == {"grant-exhausted"}
    assert pair.box.room.ledger.replay.grants.held[GRANT].left == 0
    check_rows(pair.box.room.store, pair.box.room.ledger.replay, pair.box.room.door.keyring)
    pair.stop()


def box_plan(pair: Pair, **changes: Any) -> GenesisPlan:
    plan: GenesisPlan = read_plan(json.dumps({**pair.box.genesis_plan(), **changes}).encode(), GenesisPlan)
    return plan


def test_the_plan_of_a_box_has_one_ca_and_nothing_of_a_centre(pair: Pair) -> None:
    check_box(box_plan(pair))
    keys = pair.box.genesis_plan()["keys"]
    for role in ("identity-root", "oem-root", "device-ca", "journal"):
        more = {"label": "more", "role": role, "algorithm": "p256", "token": "kedge-main"}
        with pytest.raises(PlanMalformed):
            check_box(box_plan(pair, keys=[*keys, more]))
    with pytest.raises(PlanMalformed, match="its centre's root"):
        check_box(box_plan(pair, keys=[{**keys[0], "label": "identity-root"}, keys[1]]))
    authority = {"label": CA, "profile": "device-ca", "name": "Own", "days": 10}
    with pytest.raises(PlanMalformed, match="from its centre"):
        check_box(box_plan(pair, authorities=[authority]))
    for name, value in (("trust_set", "AA=="), ("trust_set", "no base64"), ("identity_root", "no PEM")):
        with pytest.raises((KeyroomError, PkiError)):
            check_box(box_plan(pair, centre={**pair.box.centre, name: value}))


def test_what_a_box_imported_is_its_chain(pair: Pair) -> None:
    room = pair.box.room
    listed = asyncio.run(pair.box.ask(ListCertificates(), "", DocumentsListed)).documents
    assert [name for name, _, _ in listed] == [CA, "identity-root"]
    ca = room.door.keyring.labelled(CA).spki
    authority = act(pair.box, lambda: load_authority(room, ca))
    assert authority is not None and authority.certificate == listed[0][2]
    issued = asyncio.run(issue(pair.box, "BMS-000001"))
    assert issued.chain == listed[0][2] + listed[1][2]
    assert issued.trust_set == newest_set(pair.centre.room.store).payload_sha256.hex()
    assert issued.birth_package in pair.centre.room.ledger.replay.births.values()


@pytest.mark.req("CA-13")
def test_a_grant_is_for_this_box_and_newer_than_the_last(pair: Pair) -> None:
    centre, box = pair.centre, pair.box

    async def play() -> None:
        grant = await make_grant(centre, "graz-2", 5)
        altered = bytearray(grant)
        altered[len(grant) // 2] ^= 1
        other = {"grant": base64.b64encode(grant).decode(), "certificate": box.centre["identity_root"]}
        for plan in (import_plan(centre, bytes(altered)), import_plan(centre, grant[:-1]), other):
            assert problem(await propose(box, "import-x", "grant-import", plan)).code == "grant-refused"
        later = await make_grant(centre, "graz-3", 5)
        await bring(centre, box, later, "graz-3")
        again = [problem(await propose(box, "import-y", "grant-import", import_plan(centre, item)))
                 for item in (grant, later)]  # fmt: skip
        assert [item.code for item in again] == ["grant-refused"] * 2
        assert "not newer" in again[0].message
        assert problem(await propose(centre, "import-z", "grant-import", import_plan(centre, grant))).code == (
            "grant-refused"
        )

    asyncio.run(play())
    assert (
        box.room.ledger.replay.grants.current(box.room.door.keyring.labelled(CA).spki)
        == (box.room.ledger.replay.grants.held["graz-3"])
    )


def test_a_box_follows_the_trust_sets_of_its_centre(pair: Pair) -> None:
    centre, box = pair.centre, pair.box

    async def play() -> None:
        await centre.ceremony("rotate", "trust-set", rotation_plan())
        grant = await make_grant(centre, "graz-2", 5)
        plan = import_plan(centre, grant)
        refused = problem(await propose(box, "import-x", "grant-import", plan))
        assert (refused.code, "set-ref-mismatch" in refused.message) == ("grant-refused", True)
        await bring(centre, box, grant, "graz-2", trust_sets=[read_set(centre, 1)])
        assert (await issue(box, "BMS-000001")).trust_set == newest_set(centre.room.store).payload_sha256.hex()

    asyncio.run(play())
    assert newest_set(box.room.store).index == 1
    box.stop()
    box.start()


@pytest.mark.req("CA-13")
def test_a_grant_ends_with_a_recovery_of_the_journal(pair: Pair) -> None:
    """The entries that officers gave up may have spent what seems to be left of it."""
    room = pair.box.room
    ca, order = room.door.keyring.labelled(CA).spki, act(pair.box, lambda: load_order(room, "wo-1"))
    now = order.valid_from + 100
    assert refuse_grant(room, ca, order, now) is None
    room.ledger.replay.recovered.append(room.ledger.journal.size)
    refused = refuse_grant(room, ca, order, now)
    assert isinstance(refused, GrantOver) and "recovery" in refused.message


@pytest.mark.req("CA-9")
def test_a_box_signs_the_list_of_its_ca(pair: Pair, tmp_path: Path) -> None:
    """openssl refuses a unit that was scrapped at the box, by the box's own list."""
    box = pair.box
    issued = asyncio.run(issue(box, "BMS-000001"))
    asyncio.run(box.ask(ScrapDevice("wo-1", "BMS-000001", "dropped"), "operator", DeviceScrapped))
    turn(box)
    crl = read_list(box, f"crl/{CA}.crl")
    assert len(list(crl)) == 1
    ca, root = issued.chain.split(b"-----END CERTIFICATE-----\n")[:2]
    end = b"-----END CERTIFICATE-----\n"
    files = {"root.pem": root + end, "ca.pem": ca + end, "leaf.pem": issued.certificate}
    files["crl.pem"] = crl.public_bytes(Encoding.PEM)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    verify = ["openssl", "verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "ca.pem"]
    well = subprocess.run([*verify, "leaf.pem"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert well.returncode == 0, well.stderr
    checked = [*verify, "-crl_check", "-CRLfile", "crl.pem", "leaf.pem"]
    refused = subprocess.run(checked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "certificate revoked" in refused.stderr


@pytest.mark.req("T5")
def test_a_row_that_gives_a_grant_more_is_refused(pair: Pair) -> None:
    box: World = pair.box
    asyncio.run(issue(box, "BMS-000001"))
    tamper(box.room.store, "UPDATE quota_grant SET issued = 0")
    refused = problem(asyncio.run(box.try_ask(IssueDevice("wo-1", "BMS-000002", make_request()), "station")))
    assert refused.code == "journal-forked"
    with pytest.raises(JournalForked, match="grants"):
        check_rows(box.room.store, box.room.ledger.replay, box.room.door.keyring)


@pytest.mark.req("CA-13", "T4")
def test_a_grant_from_before_a_recovery_is_void(pair: Pair) -> None:
    """Entries that were lost may have used it up; it is not imported again, either."""
    box, replay = pair.box, pair.box.room.ledger.replay

    async def play() -> None:
        await asyncio.sleep(1.1)  # grants are dated by seconds
        await box.open_order("wo-2", quantity=5, last=300)
        replay.recovered.append(box.room.ledger.journal.size - 4)
        await box.open_order("wo-3", quantity=5, last=300)
        refused = problem(await box.try_ask(IssueDevice("wo-3", "BMS-000001", make_request()), "station"))
        assert (refused.code, "recovery" in refused.message) == ("grant-over", True)
        held = dict(replay.grants.held)
        replay.grants.held.clear()
        plan = import_plan(pair.centre, read_document(pair.centre, GRANT, "quota-grant"))
        assert problem(await propose(box, "import-again", "grant-import", plan)).code == "grant-refused"
        replay.grants.held.update(held)
        await bring(pair.centre, box, await make_grant(pair.centre, "graz-2026-02", 5), "graz-2026-02")
        await issue(box, "BMS-000001", order="wo-3")

    asyncio.run(play())
