"""Which certificates a station takes back, and which only people revoke."""

import asyncio
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ceremonies import commands
from ceremonies.commands import CertificateShown
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.lines import Unit, check_books, close_order, scrap
from tests.ceremonies.messaging import RP, Messaging, make_station
from tests.ceremonies.revoking import authority, issue
from tests.pki.cmp.writing import ask_certificate, ask_revocation, make_sender
from tests.world import World, audit_world

KEY = ec.generate_private_key(ec.SECP256R1())
SERIAL = "BMS-000001"


def show(world: World, certificate: bytes) -> CertificateShown:
    number = f"{x509.load_der_x509_certificate(certificate).serial_number:x}"
    return asyncio.run(world.ask(commands.ShowCertificate(number=number), "officer", CertificateShown))


@pytest.mark.req("CA-9", "CA-11")
def test_a_station_takes_back_what_it_was_given_and_what_is_not_confirmed(messaging: Messaging) -> None:
    world = messaging.world
    given = messaging.ask(ask_certificate(SERIAL, KEY), 1).certificate
    before = world.room.ledger.journal.size
    first = messaging.ask(ask_revocation(given, 4), 2)
    assert (first.tag, first.status) == (RP, (0, ""))
    shown = show(world, given)
    assert (shown.status, shown.reason) == ("revoked", "superseded")
    (leaf,) = [item for item in read_leaves(world, before) if item["type"] == "certificate.revoke"]
    what = leaf["op"]["what"]
    assert (leaf["actor"]["sub"], what["station"], what["work_order"], what["serial"]) == (
        "graz-3-a", "graz-3-a", "wo-1", SERIAL,
    )  # fmt: skip
    again = messaging.ask(ask_revocation(given, 1), 3)
    assert again.status == (0, ""), "what is revoked stays so, for the reason of the first time"
    assert show(world, given).reason == "superseded"
    check_books(world)
    assert asyncio.run(audit_world(world)).verdict == "authenticated"


@pytest.mark.req("CA-9")
def test_what_is_confirmed_or_another_stations_only_people_revoke(messaging: Messaging) -> None:
    world = messaging.world
    given = messaging.ask(ask_certificate(SERIAL, KEY), 1).certificate
    other = asyncio.run(make_station(world, "graz-3-b"))
    assert messaging.ask(ask_revocation(given), 2, other).code == "revocation-refused"
    elsewhere = asyncio.run(make_station(world, "linz-1", plant="linz"))
    assert messaging.ask(ask_revocation(given), 3, elsewhere).code == "binding-mismatch"
    for number, reason in ((4, 2), (5, 10)):
        assert messaging.ask(ask_revocation(given, reason), number).code == "revocation-refused"
    unit = Unit(1, key=KEY)
    asyncio.run(unit.issue(world))
    asyncio.run(unit.confirm(world))
    assert messaging.ask(ask_revocation(given), 6).code == "revocation-refused"
    by_token = issue(world, 2)[0].public_bytes(Encoding.DER)
    assert messaging.ask(ask_revocation(by_token), 7).code == "revocation-refused"
    assert show(world, given).status == show(world, by_token).status == "good"


@pytest.mark.req("CA-9")
def test_certificates_that_are_no_devices_or_not_ours(messaging: Messaging) -> None:
    world = messaging.world
    given = messaging.ask(ask_certificate(SERIAL, KEY), 1).certificate
    device_ca = authority(world, "device-ca").public_bytes(Encoding.DER)
    renamed = ask_revocation(given).replace(b"Acme Device CA G1", b"Acme Device CA G2")
    cases = (
        ask_revocation(device_ca), ask_revocation(messaging.station.certificate),
        ask_revocation(make_sender().certificate), renamed,
    )  # fmt: skip
    for number, body in enumerate(cases, 2):
        answer = messaging.ask(body, number)
        assert (answer.tag, answer.code) == (RP, "certificate-unknown")
    assert show(world, device_ca).status == "good"


def test_a_scrapped_unit_was_revoked_already(messaging: Messaging) -> None:
    world = messaging.world
    given = messaging.ask(ask_certificate(SERIAL, KEY), 1).certificate
    asyncio.run(scrap(world, Unit(1)))
    assert messaging.ask(ask_revocation(given), 2).status == (0, "")
    assert show(world, given).reason == "cessationOfOperation"


def test_what_closing_revoked_stays_so(messaging: Messaging) -> None:
    world = messaging.world
    given = messaging.ask(ask_certificate(SERIAL, KEY), 1).certificate
    asyncio.run(close_order(world))
    assert messaging.ask(ask_revocation(given), 2).status == (0, "")


def test_only_a_signed_message_leads_to_it() -> None:
    tags = {str(kind.__struct_config__.tag) for kind in get_args(commands.AnyCommand)}
    assert not tags & {"recall-certificate", "acknowledge-certificate", "ask-authorities"}
