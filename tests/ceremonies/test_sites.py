"""CAs of sites: made by a ceremony, found by label and by site."""

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from cryptography import x509

from ceremonies.certified import load_chain
from ceremonies.commands import OpenCeremony, Problem
from ceremonies.sites import AuthorityUnknown, find_authority, find_label
from tests.ceremonies.owning import OWNED, make_site_ca, suspend
from tests.ceremonies.revoking import authority, list_lists, open_copy, turn
from tests.ceremonies.small import act
from tests.world import SITE, World, audit_world

PLAN = {"label": "hornsea-ca", "token": "kedge-main", "site": SITE, "name": "Acme Hornsea CA", "days": 3000}


def test_a_ceremony_makes_the_ca_of_a_site(genesis_world: World) -> None:
    world, room = genesis_world, genesis_world.room
    assert act(world, lambda: find_label(room, SITE)) == ""
    asyncio.run(make_site_ca(world, "hornsea-ca", SITE))
    key = room.door.keyring.labelled("hornsea-ca")
    assert (key.role, key.scope, key.state) == ("site-ca", SITE, "active")
    made = authority(world, "hornsea-ca")
    made.verify_directly_issued_by(authority(world, "identity-root"))
    assert made.subject.rfc4514_string() == f"CN=Acme hornsea-ca G1,OU={SITE},O=Acme Storage"
    found = act(world, lambda: find_authority(room, "hornsea-ca"))
    assert (found.site, found.organization) == (SITE, "Acme Storage")
    chain = act(world, lambda: load_chain(room, found.issuer.spki))
    assert [item.subject for item in x509.load_pem_x509_certificates(chain)] == [made.subject, made.issuer]
    assert act(world, lambda: find_label(room, SITE)) == "hornsea-ca"
    turn(world)
    assert "crl/hornsea-ca.crl" in list_lists(world)
    assert asyncio.run(audit_world(world)).verdict == "authenticated"


@pytest.mark.parametrize(
    "fields",
    [
        {"label": "site-ca"},
        {"token": "kedge-journal"},
        {"site": "Hornsea 1"},
        {"days": 6000},
        {"site": OWNED, "name": "Acme Site CA"},
        {"generation": 2},
    ],
)
def test_plans_that_are_refused_before_a_key_is_made(genesis_world: World, fields: dict[str, Any]) -> None:
    command = OpenCeremony("s", "site-ca", json.dumps(PLAN | fields).encode())
    answer = asyncio.run(genesis_world.try_ask(command, "officer"))
    assert isinstance(answer, Problem)
    assert answer.code in ("plan-malformed", "lint-failed", "name-malformed")


@pytest.mark.req("KL-4")
def test_what_is_stopped_or_no_sites_ca_issues_nothing(genesis_template: World, tmp_path: Any) -> None:
    world, watch = open_copy(genesis_template, tmp_path / "world")
    watch.go_on(5)
    asyncio.run(make_site_ca(world, "graz-ca-2"))
    assert act(world, lambda: find_label(world.room, OWNED)) == "graz-ca-2"  # the one made last
    asyncio.run(suspend(world, "graz-ca-2"))
    assert act(world, lambda: find_label(world.room, OWNED)) == "site-ca"
    for label in ("graz-ca-2", "device-ca", "nowhere"):
        with pytest.raises(AuthorityUnknown):
            act(world, partial(find_authority, world.room, label))
    world.stop()
