"""The centre certifies boxes and makes grants."""

import asyncio
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.ocsp import OCSPResponseStatus

from ceremonies.commands import CeremonyShown, ExecuteStep
from ceremonies.grants import BoxUnknown, find_box, load_plant_ca, read_plant
from ceremonies.trustsets import newest_set
from pki.trust.grants import verify_grant
from pki.x509.chains import verify_chain
from tests.ceremonies.boxed import (
    CA,
    GRANT,
    Pair,
    grant_plan,
    issue,
    make_grant,
    read_document,
    trust_of,
)
from tests.ceremonies.field import problem, propose
from tests.ceremonies.revoking import ask_status, question
from tests.ceremonies.small import act
from tests.world import PLANT


def test_a_device_of_a_box_chains_to_the_root_of_the_centre(pair: Pair) -> None:
    issued = asyncio.run(issue(pair.box, "BMS-000001"))
    root = read_document(pair.centre, "identity-root", "certificate")
    ca = read_document(pair.centre, CA, "certificate")
    leaf = x509.load_pem_x509_certificate(issued.certificate)
    assert verify_chain(issued.certificate, [ca], root, leaf.not_valid_before_utc) == leaf
    assert act(pair.centre, lambda: load_plant_ca(pair.centre.room, find_box(pair.centre.room, CA))).certificate == ca


def test_grants_of_a_box_are_numbered(pair: Pair) -> None:
    centre = pair.centre
    found = [verify_grant(newest_set(centre.room.store), read_document(centre, GRANT))]
    for name in ("graz-2", "graz-3"):
        found.append(verify_grant(newest_set(centre.room.store), asyncio.run(make_grant(centre, name))))
    assert [item.number for item in found] == [1, 2, 3]
    assert {item.plant for item in found} == {PLANT}
    assert centre.room.ledger.replay.grants.made["graz-3"].number == 3
    assert read_plant(centre.room, f"{CA}/wo-1") == PLANT
    with pytest.raises(BoxUnknown):
        read_plant(centre.room, "other/wo-1")


NO_GRANTS: list[tuple[dict[str, Any], str]] = [
    ({"box": "nobody"}, "box-unknown"),
    ({"id": GRANT}, "plan-malformed"),
    ({"quantity": 0}, "plan-malformed"),
    ({"valid_to": 5}, "plan-malformed"),
    ({"profiles": ["ldevid"]}, "plan-malformed"),
    ({"classes": ["unknown"]}, "class-unknown"),
    ({"classes": []}, "plan-malformed"),
    ({"more": 1}, "plan-malformed"),
]
NO_BOXES: list[tuple[dict[str, Any], str]] = [
    ({"label": CA}, "plan-malformed"),
    ({"label": "device-ca"}, "plan-malformed"),
    ({"label": "other-ca"}, "plan-malformed"),  # its key is known
    ({"label": "other-ca", "request": "none"}, "request-malformed"),
    ({"label": "other-ca", "journal": "none"}, "trust-policy-invalid"),
]


def test_what_is_no_grant_and_no_box_is_not_proposed(pair: Pair) -> None:
    plan = {
        "plant": PLANT, "request": read_document(pair.box, CA, "certificate-request").decode(),
        "organization": "Acme Storage", "name": "Acme Graz CA", "days": 4000, "journal": trust_of(pair.box),
    }  # fmt: skip

    async def play() -> None:
        for fields, code in NO_GRANTS:
            told = await propose(pair.centre, "grant-x", "grant", {**grant_plan("graz-2"), **fields})
            assert problem(told).code == code, fields
        for fields, code in NO_BOXES:
            told = await propose(pair.centre, "ca-x", "plant-ca", {**plan, **fields})
            assert problem(told).code == code, fields

    asyncio.run(play())


def test_the_cas_of_boxes_do_not_disturb_who_asks_for_a_status(pair: Pair) -> None:
    """Neither a CA whose key is at the box nor a root whose key is at the centre has a responder here."""
    ca, root = (x509.load_pem_x509_certificate(read_document(pair.centre, name, "certificate"))
                for name in (CA, "identity-root"))  # fmt: skip
    leaf = x509.load_pem_x509_certificate(asyncio.run(issue(pair.box, "BMS-000001")).certificate)
    for world in (pair.centre, pair.box):
        for asked in (question(leaf, ca), question(ca, root)):
            assert ask_status(world, asked).response_status is OCSPResponseStatus.UNAUTHORIZED


def test_a_ca_that_was_revoked_gets_no_grant(pair: Pair) -> None:
    centre = pair.centre
    ca = x509.load_pem_x509_certificate(read_document(centre, CA, "certificate"))
    plan = {"numbers": [f"{ca.serial_number:x}"], "reason": "keyCompromise", "why": "the box was stolen"}
    asyncio.run(centre.ceremony("revoke-1", "revoke", plan))
    told = problem(asyncio.run(propose(centre, "grant-x", "grant", grant_plan("graz-2"))))
    assert (told.code, "revoked" in told.message) == ("plan-malformed", True)


def test_two_grants_under_way_do_not_share_a_number(pair: Pair) -> None:
    centre = pair.centre

    async def play() -> None:
        for name in ("graz-2", "graz-3"):
            await centre.propose(f"grant-{name}", "grant", grant_plan(name))
            await centre.approve(f"grant-{name}", "plan", "bob", "carol")
            await centre.ask(ExecuteStep(f"grant-{name}", "plan"), "officer", CeremonyShown)
        await centre.carry_out("grant-graz-2", "bob", "carol")
        await centre.approve("grant-graz-3", "results", "bob", "carol")
        late = problem(await centre.try_ask(ExecuteStep("grant-graz-3", "results"), "officer"))
        assert late.code == "step-outdated"

    asyncio.run(play())
