"""The CA that issues now, and what stops it: a suspended key or a revoked certificate, its own or of one above it."""

import asyncio

import pytest

from ceremonies import commands
from ceremonies.issuers import AuthorityUnavailable, find_issuing, find_withheld, load_issuer
from pki.x509.issuers import Issuer
from tests.ceremonies.rotating import succeed
from tests.ceremonies.small import act
from tests.world import World


def load(world: World, profile: str) -> tuple[Issuer, bytes]:
    found: tuple[Issuer, bytes] = act(world, lambda: load_issuer(world.room, profile))
    return found


@pytest.mark.req("KL-4")
def test_each_profile_has_its_ca_with_its_chain(genesis_world: World) -> None:
    for profile, length in (("identity-root", 1), ("device-ca", 2), ("site-ca", 2), ("service-ca", 2)):
        issuer, chain = load(genesis_world, profile)
        assert (issuer.profile, chain.count(b"BEGIN CERTIFICATE")) == (profile, length)
        assert chain.startswith(issuer.certificate)
    with pytest.raises(AuthorityUnavailable, match="no active idevid"):
        load(genesis_world, "idevid")


@pytest.mark.req("KL-4")
@pytest.mark.parametrize("label", ["device-ca", "identity-root"])
def test_a_suspended_key_stops_what_is_below_it(genesis_world: World, label: str) -> None:
    asyncio.run(genesis_world.ask(commands.SuspendKey(label, "a drill"), "officer", commands.KeysListed))
    with pytest.raises(AuthorityUnavailable):
        load(genesis_world, "device-ca")


@pytest.mark.req("CA-9", "T5")
def test_a_revoked_certificate_stops_its_ca_and_its_next_generation_goes_on(genesis_world: World) -> None:
    world = genesis_world
    spki = act(world, lambda: find_issuing(world.room, "device-ca")).spki
    number = world.room.ledger.replay.generations.known[spki].number
    plan = {"reason": "cACompromise", "why": "a drill", "numbers": [number]}
    assert asyncio.run(find_withheld(world.room)) == frozenset()
    asyncio.run(world.ceremony("end", "revoke", plan))
    document = world.room.ledger.replay.generations.known[spki].document
    assert asyncio.run(find_withheld(world.room)) == {document}
    with pytest.raises(AuthorityUnavailable, match="was revoked"):
        load(world, "device-ca")
    succeed(world)
    assert load(world, "device-ca")[0].spki != spki
