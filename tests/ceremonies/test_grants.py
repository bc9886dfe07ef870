"""The centre certifies boxes and makes grants."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.ocsp import OCSPResponseStatus

from ceremonies import procedures
from ceremonies.commands import CeremonyShown, ExecuteStep
from ceremonies.grants import BoxUnknown, find_box, load_plant_ca, read_plant
from ceremonies.store import StoreUnavailable
from ceremonies.trustsets import newest_set
from pki.trust.grants import verify_grant
from pki.x509.chains import verify_chain
from tests.ceremonies.boxed import (
    CA,
    GRANT,
    Pair,
    grant_plan,
    issue,
    make_box,
    make_grant,
    read_document,
    trust_of,
)
from tests.ceremonies.field import problem, propose
from tests.ceremonies.lines import check_books
from tests.ceremonies.revoking import ask_status, question
from tests.ceremonies.small import act
from tests.world import PLANT, World


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
    ({"valid_to": 1 << 52}, "plan-malformed"),
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


def plan_box(centre: World, path: Path) -> dict[str, Any]:
    """The plan of `plant-ca` for another box."""
    box = make_box(path, centre)
    box.start()
    asyncio.run(box.genesis())
    box.stop()
    return {
        "label": "linz-box-ca", "plant": "linz", "request": read_document(box, CA, "certificate-request").decode(),
        "organization": "Acme Storage", "name": "Acme Linz CA", "days": 4000, "journal": trust_of(box),
    }  # fmt: skip


def test_two_boxes_have_neither_label_nor_key_nor_name_in_common(pair: Pair, tmp_path: Path) -> None:
    """Not when both were proposed before the first one was certified, either."""
    centre = pair.centre
    plan = plan_box(centre, tmp_path / "linz")
    request = plan_box(centre, tmp_path / "wien")["request"]

    async def play() -> None:
        told = await propose(centre, "ca-0", "plant-ca", {**plan, "name": "Acme Graz CA"})
        assert problem(told).code == "plan-malformed"
        late = {
            "label": {"request": request, "name": "Acme Wien CA"},
            "key": {"label": "wien-box-ca", "name": "Acme Wien CA"},
            "name": {"label": "wien-box-ca", "request": request},
            "same": {},
        }
        for name, fields in {"first": {}, **late}.items():
            await centre.propose(f"ca-{name}", "plant-ca", {**plan, **fields})
            await centre.approve(f"ca-{name}", "plan", "bob", "carol")
            await centre.ask(ExecuteStep(f"ca-{name}", "plan"), "officer", CeremonyShown)
        await centre.carry_out("ca-first", "bob", "carol")
        for name in late:
            await centre.approve(f"ca-{name}", "results", "bob", "carol")
            told = problem(await centre.try_ask(ExecuteStep(f"ca-{name}", "results"), "officer"))
            assert told.code == "plan-malformed", name
        for action in ("site-ca", "ca-rotate", "ocsp-responder"):
            told = await propose(centre, "key-x", action, KEYS[action])
            assert (problem(told).code, "exists already" in problem(told).message) == ("plan-malformed", True)
        check_books(centre)

    asyncio.run(play())


KEYS: dict[str, dict[str, Any]] = {
    "site-ca": {"label": CA, "token": "kedge-main", "site": "linz-1", "name": "Acme Linz", "days": 900},
    "ca-rotate": {"label": CA, "replaces": "device-ca", "token": "kedge-main", "days": 900, "reason": "age"},
    "ocsp-responder": {"label": CA, "ca": "device-ca", "token": "kedge-main", "days": 90},
}


def test_a_crash_after_the_certificate_of_a_box_is_followed_by_the_same_ceremony(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    centre, plan = pair.centre, plan_box(pair.centre, tmp_path / "linz")

    async def play() -> None:
        def stop(*_: object) -> None:
            raise StoreUnavailable("the machine ended here")

        with monkeypatch.context() as patched:
            patched.setattr(procedures, "close_ceremony", stop)
            await centre.propose("ca-linz", "plant-ca", plan)
            await centre.approve("ca-linz", "plan", "bob", "carol")
            await centre.ask(ExecuteStep("ca-linz", "plan"), "officer", CeremonyShown)
            await centre.approve("ca-linz", "results", "bob", "carol")
            told = problem(await centre.try_ask(ExecuteStep("ca-linz", "results"), "officer"))
            assert told.code == "store-unavailable"
        await centre.ask(ExecuteStep("ca-linz", "results"), "officer", CeremonyShown)
        assert find_box(centre.room, "linz-box-ca").plant == "linz"
        check_books(centre)

    asyncio.run(play())
