"""The keys that sign answers of CMP: made by ceremony, one for all CAs if need be, counted, stopped at once."""

import asyncio

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ceremonies import commands
from ceremonies.cmp_protection import Protection
from ceremonies.commands import KeysListed, SuspendKey
from ceremonies.desk import Desk
from ceremonies.handlers import handlers
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.messaging import GENP, Messaging, make_responder, make_station
from tests.ceremonies.revoking import authority, revoke
from tests.pki.cmp.writing import ask_certificate, ask_information, octets
from tests.world import World, audit_world

KEY = ec.generate_private_key(ec.SECP256R1())
CA_CERTS = ask_information("1.3.6.1.5.5.7.4.17")


@pytest.mark.req("HS-4", "T12")
def test_answers_are_counted_and_an_entry_says_how_many(messaging: Messaging) -> None:
    room = messaging.world.room
    protection = room_protection(messaging)
    messaging.ask(ask_certificate("BMS-000001", KEY), 1)
    messaging.ask(ask_certificate("BMS-000002", KEY), 2)
    messaging.ask(CA_CERTS, 3)
    before = room.ledger.journal.size
    asyncio.run(protection.record())
    (leaf,) = [item for item in read_leaves(messaging.world, before) if not item["type"].startswith("log.")]
    assert leaf["type"] == "certificate.message"
    assert leaf["op"]["what"] == {"responders": [{"genm": 1, "ir": 2, "label": "cmp-1"}]}
    asyncio.run(protection.record())
    assert len([item for item in read_leaves(messaging.world) if item["type"] == "certificate.message"]) == 1
    assert room.counters["cmp_signed"] == 3
    assert asyncio.run(audit_world(messaging.world)).verdict == "authenticated"


def room_protection(messaging: Messaging) -> Protection:
    """The one behind the desk."""
    protection = Protection(messaging.world.room)
    messaging.world.desk = Desk(messaging.world.room, handlers(messaging.world.room, protection=protection))
    return protection


@pytest.mark.req("KL-2")
def test_a_responder_that_is_stopped_or_at_its_end_answers_nothing(messaging: Messaging) -> None:
    world = messaging.world
    assert messaging.ask(CA_CERTS, 2).tag == GENP, "it is known already"
    message = messaging.write(ask_certificate("BMS-000001", KEY))
    stop = SuspendKey("cmp-1", "a drill")
    asyncio.run(world.ask(stop, "officer", KeysListed))
    before = world.room.ledger.journal.size
    assert messaging.refuse(message) == "responder-missing"
    assert world.room.ledger.journal.size == before, "and nothing is issued that could not be answered"
    asyncio.run(world.ceremony("resume", "resume", {"labels": ["cmp-1"], "reason": "over"}))
    assert messaging.ask(CA_CERTS, 1).tag == GENP


@pytest.mark.req("KL-2")
def test_a_responder_that_was_revoked_answers_nothing(messaging: Messaging) -> None:
    world = messaging.world
    number = messaging.ask(CA_CERTS, 1).certificates[0].serial_number
    revoke(world, number=f"{number:x}")
    message = messaging.write(ask_certificate("BMS-000001", KEY))
    assert messaging.refuse(message) == "responder-missing"
    asyncio.run(make_responder(world, "cmp-2"))
    assert messaging.ask(CA_CERTS, 2).tag == GENP
    number = authority(world, "device-ca").serial_number
    plan = {"reason": "cACompromise", "why": "stolen", "numbers": [f"{number:040x}"]}
    asyncio.run(world.ceremony("revoke", "revoke", plan))
    message = messaging.write(ask_certificate("BMS-000001", KEY), {4: octets(b"z" * 16)})
    assert messaging.refuse(message) == "responder-missing"


def test_the_end_of_its_certificate_is_the_end(messaging: Messaging) -> None:
    assert messaging.watch is not None
    asyncio.run(make_responder(messaging.world, "cmp-2", 1, replaces="cmp-1"))
    assert messaging.ask(CA_CERTS, 1).tag == GENP
    messaging.watch.go_on(2 * 86400)
    assert messaging.refuse(messaging.write(CA_CERTS)) == "responder-missing"


def test_one_responder_speaks_for_all_labels_and_the_next_replaces_it(messaging: Messaging) -> None:
    first = messaging.ask(CA_CERTS, 1, authority="site-ca").certificates[0]
    asyncio.run(make_responder(messaging.world, "cmp-2", replaces="cmp-1"))
    second = messaging.ask(CA_CERTS, 2, authority="device-ca").certificates[0]
    assert first.subject == second.subject
    assert first.serial_number != second.serial_number


@pytest.mark.req("CA-9")
def test_its_certificate_is_known_by_its_number_and_can_be_revoked(messaging: Messaging) -> None:
    world = messaging.world
    certificate = messaging.ask(CA_CERTS, 1).certificates[0]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [item.dotted_string for item in usage] == ["1.3.6.1.5.5.7.3.28"]
    command = commands.RevokeCertificate(number=f"{certificate.serial_number:x}", reason="keyCompromise", why="a drill")
    shown = asyncio.run(world.ask(command, "officer", commands.CertificateShown))
    assert (shown.kind, shown.status) == ("cmp-responder", "revoked")


@pytest.mark.req("CA-11")
def test_without_a_responder_there_is_no_cmp(factory_world: World) -> None:
    messaging = Messaging(factory_world, asyncio.run(make_station(factory_world)))
    assert messaging.refuse(messaging.write(CA_CERTS)) == "responder-missing"
