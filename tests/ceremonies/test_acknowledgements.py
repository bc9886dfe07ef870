"""Confirmations of certificates that devices were handed out by CMP, also by an LDevID that was just replaced."""

import asyncio

import pytest

from ceremonies.transactions import WINDOW_S
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.messaging import PKI_CONF, Messaging, make_station, name_transaction
from tests.ceremonies.renewing import Device, make_key
from tests.ceremonies.revoking import revoke
from tests.ceremonies.test_cmp import size
from tests.pki.cmp.writing import acknowledge, ask_certificate, octets
from tests.world import PLANT, audit_world


@pytest.mark.req("CA-11", "CA-14")
def test_an_ldevid_that_was_replaced_ends_its_own_transaction_and_nothing_else(messaging: Messaging) -> None:
    device, other, world = Device(messaging, wait=True), Device(messaging, 2), messaging.world
    assert messaging.watch is not None
    first = device.enrol(make_key())
    theirs = other.ask(other.update(other.enrol(make_key()), make_key()), number=7)
    given = device.ask(device.update(first, make_key()), first, number=7)

    def refuse(confirmed: bytes, nonce: bytes, number: int = 7) -> str:
        fields = {4: octets(name_transaction(number)), 6: nonce}
        message = messaging.write(acknowledge(confirmed), fields, first)
        return messaging.refuse(message, authority="site-ca")

    before = size(world)
    assert refuse(given.certificate, given.nonce, 8) == "device-revoked", "another transaction"
    assert refuse(theirs.certificate, theirs.nonce) == "device-revoked", "another device"
    assert refuse(given.certificate, octets(bytes(32))) == "device-revoked", "another nonce"
    assert size(world) == before
    world.stop()
    world.start()  # nothing of it is in memory
    assert device.confirm(given, 7, first).tag == PKI_CONF
    assert read_leaves(world, before)[-1]["op"]["what"]["command"] == "acknowledge-certificate"
    assert refuse(given.certificate, given.nonce) == "message-replayed"
    messaging.watch.go_on(2 * WINDOW_S + 1)
    assert refuse(given.certificate, given.nonce) == "device-revoked", "too late"
    assert asyncio.run(audit_world(world)).verdict == "authenticated"


@pytest.mark.req("CA-14", "AZ-4")
def test_an_ldevid_that_somebody_revoked_confirms_nothing(messaging: Messaging) -> None:
    device, world = Device(messaging), messaging.world
    first = device.enrol(make_key())
    given = device.ask(ask_certificate(device.unit.serial, first.key), first, number=7)
    revoke(world, number=f"{first.parsed.serial_number:x}", reason="superseded")
    fields = {4: octets(name_transaction(7)), 6: given.nonce}
    message = messaging.write(acknowledge(given.certificate), fields, first)
    assert messaging.refuse(message, authority="site-ca") == "device-revoked"


@pytest.mark.req("AZ-4")
def test_a_device_confirms_its_own_certificate(messaging: Messaging) -> None:
    device, other = Device(messaging), Device(messaging, 2)
    key = make_key()
    given = device.ask(ask_certificate(device.unit.serial, key), number=7)
    answer = other.ask(acknowledge(given.certificate), number=7, fields={6: given.nonce})
    assert answer.code == "binding-mismatch"
    assert device.confirm(given, 7, device.idevid).tag == PKI_CONF


@pytest.mark.req("AZ-4")
def test_a_station_confirms_what_is_its_business(messaging: Messaging) -> None:
    device, world, key = Device(messaging), messaging.world, make_key()
    given = messaging.ask(ask_certificate("BMS-000009", key), 5)
    far, near = (
        asyncio.run(make_station(world, name, plant=plant)) for name, plant in (("linz-1", "linz"), ("b", PLANT))
    )
    ldevid = device.ask(ask_certificate(device.unit.serial, make_key()), number=6)
    for answer, number, sender, code in (
        (given, 5, far, "binding-mismatch"),
        (ldevid, 6, messaging.station, "message-unexpected"),
    ):
        before = size(world)
        said = messaging.ask(acknowledge(answer.certificate), number, sender, fields={6: answer.nonce})
        (leaf,) = read_leaves(world, before)
        assert (said.code, leaf["type"], leaf["op"]["what"]["command"]) == (
            code,
            "auth.fail",
            "acknowledge-certificate",
        )
    said = messaging.ask(acknowledge(given.certificate), 5, near, fields={6: given.nonce})
    assert said.tag == PKI_CONF, "another station of the line may have handed it on"
