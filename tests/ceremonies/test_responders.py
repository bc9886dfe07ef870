"""Responder keys: made and certified by a ceremony, replaced by the next one."""

import asyncio
import json
from typing import Any

import pytest
from cryptography import x509

from ceremonies.commands import BoxSettled, OpenCeremony, Problem
from ceremonies.responders import read_responder
from tests.ceremonies import messaging
from tests.ceremonies.boxed import CA, Pair, carry, issue, settle
from tests.ceremonies.revoking import authority, make_responder
from tests.ceremonies.rotating import succeed
from tests.ceremonies.small import act
from tests.ceremonies.templates import on_both_keys
from tests.world import World, audit_world

PLAN = {"label": "ocsp-1", "ca": "device-ca", "token": "kedge-main", "days": 30}


@pytest.mark.req("CA-9", "KL-2")
@on_both_keys
def test_a_ceremony_makes_key_and_certificate_and_the_next_one_replaces_them(genesis_world: World) -> None:
    world, room = genesis_world, genesis_world.room
    asyncio.run(make_responder(world))
    key = room.door.keyring.labelled("ocsp-1")
    assert (key.role, key.scope, key.state) == ("ocsp", "device-ca", "active")
    pem = act(world, lambda: read_responder(room, key))
    certificate = x509.load_pem_x509_certificate(pem)
    certificate.verify_directly_issued_by(authority(world, "device-ca"))
    assert not certificate.extensions.get_extension_for_class(x509.OCSPNoCheck).critical
    assert certificate.subject.rfc4514_string() == "CN=device-ca OCSP,O=Acme Storage"
    asyncio.run(make_responder(world, "ocsp-2", replaces="ocsp-1"))
    assert room.door.keyring.labelled("ocsp-1").state == "deactivated"
    assert room.door.keyring.labelled("ocsp-2").state == "active"
    assert act(world, lambda: read_responder(room, room.door.keyring.labelled("director"))) is None
    assert asyncio.run(audit_world(world)).verdict == "authenticated"


@pytest.mark.parametrize(
    "fields",
    [
        {"ca": "director"},
        {"ca": "identity-root"},
        {"label": "director"},
        {"token": "kedge-journal"},
        {"replaces": "director"},
        {"days": 93},
        {"label": "a/"},
    ],
)
def test_plans_that_are_refused_before_a_key_is_made(genesis_world: World, fields: dict[str, Any]) -> None:
    command = OpenCeremony("r", "ocsp-responder", json.dumps(PLAN | fields).encode())
    answer = asyncio.run(genesis_world.try_ask(command, "officer"))
    assert isinstance(answer, Problem)
    assert answer.code in ("plan-malformed", "lint-failed", "name-malformed")


@pytest.mark.req("CA-11", "KL-2")
def test_a_responder_of_cmp_is_made_in_the_same_way_and_is_none_of_ocsp(genesis_world: World) -> None:
    world, room = genesis_world, genesis_world.room
    asyncio.run(messaging.make_responder(world))
    key = room.door.keyring.labelled("cmp-1")
    assert (key.role, key.scope, key.state) == ("cmp", "device-ca", "active")
    certificate = x509.load_pem_x509_certificate(act(world, lambda: read_responder(room, key)))
    certificate.verify_directly_issued_by(authority(world, "device-ca"))
    assert certificate.subject.rfc4514_string() == "CN=device-ca CMP,O=Acme Storage"
    for fields in ({"ca": "site-ca"}, {"ca": "service-ca"}, {"replaces": "ocsp"}, {"days": 93}):
        command = OpenCeremony("r", "cmp-responder", json.dumps(PLAN | {"label": "cmp-2"} | fields).encode())
        answer = asyncio.run(world.try_ask(command, "officer"))
        assert isinstance(answer, Problem)
        assert answer.code in ("plan-malformed", "lint-failed")
    assert asyncio.run(audit_world(world)).verdict == "authenticated"


@pytest.mark.req("T4")
def test_a_site_box_has_responders_of_ocsp_alone_and_its_centre_counts_them_as_such(pair: Pair) -> None:
    """At a settlement, another certificate by the box's CA is one that is not told."""
    box = pair.box

    async def play() -> None:
        await issue(box, "BMS-000001")
        plan = {"label": "graz-ocsp", "ca": CA, "token": "kedge-main", "days": 30}
        await box.ceremony("ocsp", "ocsp-responder", plan)
        asked = OpenCeremony("cmp", "cmp-responder", json.dumps({**plan, "label": "graz-cmp"}).encode())
        answer = await box.try_ask(asked, "officer")
        assert isinstance(answer, Problem)
        assert (answer.code, answer.hint) == ("plan-malformed", "they come with tokens")
        settled = await settle(pair.centre, await carry(box))
        assert isinstance(settled, BoxSettled)
        assert settled.findings == ()

    asyncio.run(play())


@pytest.mark.req("KL-2")
def test_a_ca_that_issues_no_more_is_refused_before_there_is_a_key(factory_world: World) -> None:
    """It has its responder of OCSP, for what it issued."""
    world = factory_world
    succeed(world)
    plan = {"label": "cmp-1", "ca": "device-ca", "token": "kedge-main", "days": 30}
    answer = asyncio.run(world.try_ask(OpenCeremony("cmp", "cmp-responder", json.dumps(plan).encode()), "officer"))
    assert isinstance(answer, Problem)
    assert answer.code == "authority-not-issuing"
    asyncio.run(make_responder(world))
    asyncio.run(messaging.make_responder(world, ca="device-ca-2"))
    assert [(key.label, key.scope) for key in world.room.door.keyring if key.role == "cmp"] == [
        ("cmp-1", "device-ca-2")
    ]
