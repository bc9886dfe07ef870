"""Devices as senders of messages: their LDevIDs by CMP, under the rules of EST, and what others send in their name."""

import asyncio
import threading
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ceremonies.commands import (
    AnyResult,
    CertificateShown,
    CmpAnswered,
    Problem,
    Request,
    RevokeCertificate,
    TransactCmp,
)
from ceremonies.devices import ASKED
from ceremonies.revocation_tables import RevocationRow
from ceremonies.room import Room
from ceremonies.transactions import WINDOW_S
from tests.api.est_requests import make_est_request
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.lines import check_books, make_units
from tests.ceremonies.messaging import CP, IP, KUP, PKI_CONF, RP, Answer, Messaging
from tests.ceremonies.owning import make_site_ca, place
from tests.ceremonies.renewing import Device, make_key
from tests.ceremonies.revoking import authority, revoke
from tests.ceremonies.test_cmp import seen, size
from tests.ceremonies.test_rework import failing
from tests.pki.cmp.writing import (
    Sender,
    ask_certificate,
    ask_information,
    ask_revocation,
    make_sender,
    octets,
    tag,
)
from tests.world import SITE, World, audit_world


def revoked(world: World) -> list[str]:
    """The reasons of what is revoked, in order."""
    return [row["reason"] for row in world.room.store.list(RevocationRow, "seq")]


@pytest.mark.req("CA-11", "CA-14")
def test_a_device_gets_its_ldevid_as_by_est(messaging: Messaging) -> None:
    device, world, key = Device(messaging), messaging.world, make_key()
    before = size(world)
    first = device.ask(ask_certificate(device.unit.serial, key), number=1)
    assert first.tag == IP
    parsed = x509.load_der_x509_certificate(first.certificate)
    parsed.verify_directly_issued_by(authority(world, "site-ca"))
    assert seen(world, before) == [
        ("key.sign.intent", "certificate.ldevid"),
        ("key.sign.outcome", "certificate.ldevid"),
    ]
    actor = read_leaves(world, before)[1]["actor"]
    assert (actor["role"], actor["sub"], actor["src"]) == ("device", device.unit.serial, "192.0.2.9")
    assert device.confirm(first, 1, device.idevid).tag == PKI_CONF
    assert seen(world, before)[2:] == [("export", "acknowledge-certificate")]

    ldevid = Sender(key, first.certificate)
    for body, sender, expected in (
        (ask_certificate(device.unit.serial, key, 2), device.idevid, CP),
        (tag(4, make_est_request(device.unit.serial, key=key)), ldevid, CP),
        (device.update(ldevid, key), ldevid, KUP),
        (device.update(ldevid, key), device.idevid, KUP),
    ):
        again = device.ask(body, sender)
        assert (again.tag, again.certificate) == (expected, first.certificate)
    assert device.enrol_by_est(key) == first.certificate
    chain = device.ask(ask_information("1.3.6.1.5.5.7.4.17"), ldevid)
    assert chain.body.endswith(
        b"".join(authority(world, label).public_bytes(Encoding.DER) for label in ("site-ca", "identity-root"))
    )
    assert revoked(world) == []
    check_books(world)
    assert asyncio.run(audit_world(world)).verdict == "authenticated"


@pytest.mark.req("CA-11", "CA-14")
def test_an_update_is_signed_by_the_ldevid_and_so_is_its_confirmation(messaging: Messaging) -> None:
    """RFC 9483 section 4.1.3: the transaction ends with the certificate that it began with, which counts no more."""
    device, world = Device(messaging, wait=True), messaging.world
    first, key = device.enrol(make_key()), make_key()
    given = device.ask(device.update(first, key), first, number=7)
    assert given.tag == KUP
    assert revoked(world) == ["superseded"]
    assert device.refuse(ask_certificate(device.unit.serial, key), first) == "device-revoked"
    assert device.confirm(given, 7, first).tag == PKI_CONF
    second = Sender(key, given.certificate)
    assert device.ask(device.update(first, make_key()), second).code == "certificate-unknown"
    third = device.ask(device.update(second, make_key()), device.idevid)
    assert third.tag == KUP
    assert revoked(world) == ["superseded", "superseded"]
    check_books(world)
    assert asyncio.run(audit_world(world)).verdict == "authenticated"


@pytest.mark.req("CA-9", "CA-11")
def test_a_device_gives_up_its_ldevid_and_nothing_else(messaging: Messaging) -> None:
    device, world, key = Device(messaging), messaging.world, make_key()
    assert device.give_up(device.idevid).code == "certificate-unknown"
    ldevid = device.enrol(key)
    for sender, reason, code in (
        (device.idevid, 1, "revocation-refused"),  # RFC 9483 section 4.2: signed by what is to be revoked
        (ldevid, 2, "revocation-refused"),  # cACompromise
    ):
        assert device.give_up(ldevid, sender, reason).code == code
    assert device.ask(ask_revocation(device.idevid.certificate), ldevid).code == "certificate-unknown"
    renamed = ask_revocation(ldevid.certificate).replace(b"Acme Site CA G1", b"Acme Site CA G2")
    assert device.ask(renamed, ldevid).code == "certificate-unknown"
    assert revoked(world) == []
    before = size(world)
    done = device.give_up(ldevid)
    assert (done.tag, done.status) == (RP, (0, ""))
    (leaf,) = read_leaves(world, before)
    what = leaf["op"]["what"]
    assert (leaf["actor"]["role"], what["serial"], what["reason"]) == ("device", device.unit.serial, "keyCompromise")
    assert device.refuse(ask_revocation(ldevid.certificate), ldevid) == "device-revoked"
    assert device.ask(ask_certificate(device.unit.serial, key)).code == "certificate-withdrawn"
    device.enrol(make_key())
    assert revoked(world) == ["keyCompromise"]
    check_books(world)
    assert asyncio.run(audit_world(world)).verdict == "authenticated"


@pytest.mark.req("AZ-4", "CA-11")
def test_what_est_refuses_a_device_is_refused_here(messaging: Messaging) -> None:
    device, world, key = Device(messaging), messaging.world, make_key()
    (unit,) = asyncio.run(make_units(world, range(2, 3)))
    other = Device(messaging, 2, unit)
    own = ask_certificate(device.unit.serial, key)
    for answer, code in (
        (device.ask(ask_certificate(unit.serial, key)), "binding-mismatch"),
        (device.ask(own, authority="device-ca"), "authority-unknown"),
        (device.ask(ask_certificate(device.unit.serial, device.unit.key)), "key-used"),
        (device.ask(device.update(device.idevid, key)), "certificate-unknown"),
        (other.ask(ask_certificate(unit.serial, key)), "unit-unconfirmed"),
    ):
        assert (answer.status[0], answer.code) == (2, code)
    asyncio.run(unit.confirm(world))
    before = size(world)
    waiting = ask_certificate(unit.serial, key)
    assert (other.ask(waiting).code, other.ask(waiting).code) == ("enrolment-pending", "enrolment-pending")
    assert [kind for kind, _ in seen(world, before)] == ["device.pending"]
    asyncio.run(place(world, unit.serial, site=SITE))
    assert other.ask(waiting).code == "site-mismatch"
    asyncio.run(make_site_ca(world, "hornsea-ca", SITE))
    issued = other.enrol(key, authority="hornsea-ca")
    assert other.ask(waiting, issued).code == "binding-mismatch", "an LDevID speaks to its own CA"
    revoke(world, device.unit.serial)
    assert device.refuse(own) == "device-revoked"


@pytest.mark.req("CA-14", "T27")
def test_a_crash_between_intent_and_outcome(messaging: Messaging) -> None:
    device, key = Device(messaging), make_key()
    command = messaging.write(ask_certificate(device.unit.serial, key), sender=device.idevid)
    with failing(messaging.world, "site-ca"):
        assert messaging.refuse(command, authority="site-ca") == "hsm-key-not-found"
    first = device.enrol(key)
    assert device.enrol_by_est(key) == first.certificate
    check_books(messaging.world)


@pytest.mark.req("T19", "T25")
def test_what_others_send_in_a_devices_name_costs_it_nothing(messaging: Messaging) -> None:
    device, world, key = Device(messaging), messaging.world, make_key()
    body, before = ask_certificate(device.unit.serial, key), size(world)
    forged = messaging.write(body, sender=Sender(key, device.idevid.certificate))
    for _ in range(ASKED[0] + 1):
        assert messaging.refuse(forged, authority="site-ca") == "message-forged"
    assert size(world) == before
    ldevid = device.enrol(key)
    heard = messaging.write(tag(0, b"\x30\0"), {4: octets(b"h" * 16)}, ldevid)
    assert messaging.refuse(heard, authority="site-ca") == "message-malformed"
    for _ in range(ASKED[0]):
        assert messaging.refuse(heard, authority="site-ca") == "message-replayed"
    codes: list[str] = []
    while codes[-1:] != ["device-too-fast"]:
        fields = {4: octets(bytes((len(codes),)) * 16)}
        codes.append(messaging.refuse(messaging.write(tag(0, b"\x30\0"), fields, ldevid), authority="site-ca"))
    assert len(codes) == ASKED[0] - 1, "it is the device's own that counts, readable or not"


@pytest.mark.req("T25")
def test_strangers_make_nobody_wait_for_the_writer(messaging: Messaging) -> None:
    """Nor does who shows a device's certificate, which is no secret, and has not its key."""
    device, world = Device(messaging), messaging.world
    body = ask_certificate(device.unit.serial, device.unit.key)
    forged = Sender(make_key(), device.idevid.certificate)

    async def ask(message: bytes) -> AnyResult | Problem:
        gate = threading.Event()
        busy = asyncio.create_task(world.room.act(gate.wait))
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(10):
                return await world.desk.answer(Request(1, TransactCmp("site-ca", message), "", "a"), local=False)
        finally:
            gate.set()
            await busy

    for sender, code in ((make_sender(), "client-certificate-unknown"), (forged, "message-forged")):
        answer = asyncio.run(ask(messaging.write(body, sender=sender)))
        assert isinstance(answer, Problem)
        assert answer.code == code


@pytest.mark.req("CA-11", "AZ-4")
def test_an_ldevid_that_is_replaced_while_its_message_waits_gets_no_successor(messaging: Messaging) -> None:
    """Else whoever took its key and has messages under way has the last one, though the device came back first."""
    device, world = Device(messaging, wait=True), messaging.world
    first, key = device.enrol(make_key()), make_key()
    asked = [(ask_certificate(device.unit.serial, key), device.idevid), (device.update(first, make_key()), first)]
    messages = [
        messaging.write(body, {4: octets(bytes((number,)) * 16)}, sender) for number, (body, sender) in enumerate(asked)
    ]

    async def ask() -> list[Answer]:
        requests = [Request(1, TransactCmp("site-ca", message), "", "192.0.2.9") for message in messages]
        answers = await asyncio.gather(*(world.desk.answer(request, local=False) for request in requests))
        return [Answer(answer.response) for answer in answers if isinstance(answer, CmpAnswered)]

    given, refused = asyncio.run(ask())
    assert (given.tag, given.code, refused.tag) == (IP, "", KUP)
    assert refused.code in ("device-revoked", "certificate-unknown")  # as it was looked at before or after the other
    assert device.enrol_by_est(key) == given.certificate
    assert revoked(world) == ["superseded"]
    assert asyncio.run(audit_world(world)).verdict == "authenticated"


@pytest.mark.req("CA-11", "AZ-4")
def test_an_ldevid_that_an_officer_revokes_while_its_message_waits_gets_no_successor(
    messaging: Messaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, world, room = Device(messaging), messaging.world, messaging.world.room
    for owner, name in ((room.readers, "take_in"), (Room, "seal")):  # before it is looked at, and just before the door
        ldevid, meant = device.enrol(make_key()), getattr(owner, name)
        number = f"{ldevid.parsed.serial_number:x}"

        async def revoke_first(*given: Any, number: str = number, meant: Any = meant) -> Any:
            command = RevokeCertificate(number=number, reason="keyCompromise")
            await world.ask(command, "officer", CertificateShown)
            return await meant(*given)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, revoke_first)
            assert device.ask(device.update(ldevid, make_key()), ldevid).code == "device-revoked"
    device.enrol(make_key())
    assert revoked(world) == ["keyCompromise", "keyCompromise"]
    check_books(world)
    assert asyncio.run(audit_world(world)).verdict == "authenticated"


@pytest.mark.req("T19", "CA-11")
def test_what_was_heard_before_a_restart_ends_no_ldevid(messaging: Messaging) -> None:
    """What was refused then would be done now, and what was done would be done once more by another CA of the site."""
    device, world, watch = Device(messaging), messaging.world, messaging.watch
    assert watch is not None
    asyncio.run(make_site_ca(world, "other-ca"))
    keys = [make_key() for _ in range(3)]
    heard = [
        messaging.write(ask_certificate(device.unit.serial, key), {4: octets(bytes((number,)) * 16)}, device.idevid)
        for number, key in enumerate(keys)
    ]

    def hear(message: bytes, label: str) -> Answer:
        answered = messaging.transact(message, label)
        assert isinstance(answered, CmpAnswered)
        return Answer(answered.response)

    assert hear(heard[0], "device-ca").code == "authority-unknown"
    first = hear(heard[1], "site-ca").certificate
    world.stop()
    world.start()
    for message, label in ((heard[0], "site-ca"), (heard[1], "other-ca")):
        assert hear(message, label).code == "enrolment-under-way"
    assert device.enrol(keys[1]).certificate == first, "the same gets the same"
    assert revoked(world) == []
    assert device.ask(device.update(Sender(keys[1], first), keys[2]), Sender(keys[1], first)).tag == KUP
    watch.go_on(WINDOW_S + 1)
    device.enrol(make_key())
    assert revoked(world) == ["superseded", "superseded"]
