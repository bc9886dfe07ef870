"""Stations enrolled by officers, certified on their own request, stopped by any officer."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ceremonies import commands
from ceremonies.commands import DeviceIssued, Problem, Request, StationIssued, StationsListed
from ceremonies.enrolment import LIFE
from pki.signatures import spki_sha256
from pki.x509.chains import verify_chain
from tests.ceremonies.examples import read_leaves
from tests.world import CLASS, PLANT, RefusedError, World, audit_world, make_request

NAME = "graz-3-a"


def plan_of(key: ec.EllipticCurvePrivateKey, **changed: Any) -> dict[str, Any]:
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    plan = {"station": NAME, "plant": PLANT, "lines": ["3"], "classes": [CLASS], "key": spki_sha256(public)}
    return plan | changed


async def certify(world: World, key: ec.EllipticCurvePrivateKey) -> StationIssued:
    return await world.ask(commands.IssueStation(NAME, make_request(key)), "", StationIssued)


async def enrol(world: World, key: ec.EllipticCurvePrivateKey, **changed: Any) -> StationIssued:
    await world.ceremony("enrol", "station-enrol", plan_of(key, **changed))
    return await certify(world, key)


async def ask_as(world: World, issued: StationIssued, command: commands.AnyCommand, source: str = "") -> Any:
    der = x509.load_pem_x509_certificate(issued.certificate).public_bytes(Encoding.DER)
    return await world.desk.answer(Request(1, command, "", source, der), local=False)


def move_clock(world: World, time: timedelta) -> None:
    around, microseconds = world.room.surroundings, time // timedelta(microseconds=1)
    moved = msgspec.structs.replace(around, now_us=lambda: around.now_us() + microseconds)
    world.room.surroundings = world.room.door.surroundings = moved


def code_of(answer: Any) -> str:
    assert isinstance(answer, Problem), answer
    return answer.code


@pytest.mark.req("AZ-4", "AZ-5")
def test_a_station_works_by_its_certificate_until_an_officer_stops_it(factory_world: World) -> None:
    async def run() -> None:
        world, key = factory_world, ec.generate_private_key(ec.SECP256R1())
        issued = await enrol(world, key)
        assert not issued.replayed
        request = commands.IssueDevice("wo-1", "BMS-000001", make_request())
        device = await ask_as(world, issued, request)
        assert isinstance(device, DeviceIssued)
        assert read_leaves(world)[-1]["actor"] == {"cred": plan_of(key)["key"], "role": "station", "sub": NAME}
        await world.ask(commands.SuspendStation(NAME, "a drill"), "officer", StationsListed)
        assert code_of(await ask_as(world, issued, request)) == "station-suspended"
        with pytest.raises(RefusedError, match="station-suspended"):
            await certify(world, key)
        assert (await audit_world(world)).verdict == "authenticated"
        await world.ceremony("resume", "station-resume", {"station": NAME, "reason": "over"})
        assert (await ask_as(world, issued, request)).replayed
        listed = await world.ask(commands.RevokeStation(NAME, "stolen"), "officer", StationsListed)
        assert [(item.station, item.state) for item in listed.stations] == [(NAME, "revoked")]
        assert code_of(await ask_as(world, issued, request)) == "station-revoked"
        with pytest.raises(RefusedError, match="station-revoked"):
            await certify(world, key)
        with pytest.raises(RefusedError, match=f"station {NAME} exists"):
            await world.ceremony("again", "station-enrol", plan_of(ec.generate_private_key(ec.SECP256R1())))

    asyncio.run(run())


def status_of(world: World, issued: StationIssued) -> commands.CertificateShown:
    number = x509.load_pem_x509_certificate(issued.certificate).serial_number
    asked = world.ask(commands.ShowCertificate(number=f"{number:x}"), "auditor", commands.CertificateShown)
    return asyncio.run(asked)


@pytest.mark.req("AZ-4", "CA-9")
def test_the_certificates_of_a_revoked_station_are_revoked_for_everybody(factory_world: World) -> None:
    world = factory_world
    issued = asyncio.run(enrol(world, ec.generate_private_key(ec.SECP256R1())))
    assert status_of(world, issued).status == "good"
    asyncio.run(world.ask(commands.SuspendStation(NAME, "a drill"), "officer", StationsListed))
    assert status_of(world, issued).status == "good"
    asyncio.run(world.ask(commands.RevokeStation(NAME, "stolen"), "officer", StationsListed))
    shown = status_of(world, issued)
    assert (shown.status, shown.reason) == ("revoked", "privilegeWithdrawn")
    asyncio.run(world.ask(commands.RevokeStation(NAME, "again"), "officer", StationsListed))
    assert status_of(world, issued) == shown


@pytest.mark.req("AZ-4")
def test_what_the_certificate_says(factory_world: World) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issued = asyncio.run(enrol(factory_world, key))
    certificate = x509.load_pem_x509_certificate(issued.certificate)
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == f"CN={NAME},OU={PLANT},O=Acme Storage"
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == LIFE
    assert certificate.not_valid_before_utc - datetime.now(UTC) < timedelta(minutes=1)
    leaf = msgspec.json.decode(issued.proven.entry)
    assert leaf["op"]["what"]["station"] == NAME
    assert leaf["out"]["doc"] == hashlib.sha256(issued.certificate).hexdigest()
    chain = x509.load_pem_x509_certificates(issued.chain)
    intermediate, root = (item.public_bytes(Encoding.DER) for item in chain)
    verify_chain(certificate.public_bytes(Encoding.DER), [intermediate], root, datetime.now(UTC))


@pytest.mark.req("AZ-4")
@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"plant": "linz"}, "binding-mismatch"),
        ({"addresses": ["198.51.100.0/24"]}, "address-refused"),
    ],
)
def test_a_station_is_bound_to_its_place(factory_world: World, changed: dict[str, Any], code: str) -> None:
    async def run() -> None:
        issued = await enrol(factory_world, ec.generate_private_key(ec.SECP256R1()), **changed)
        request = commands.IssueDevice("wo-1", "BMS-000001", make_request())
        assert code_of(await ask_as(factory_world, issued, request, "192.0.2.7")) == code

    asyncio.run(run())


@pytest.mark.req("CA-13", "AZ-4")
def test_three_strange_requests_suspend_and_the_fourth_is_refused_whatever_it_is(factory_world: World) -> None:
    async def run() -> None:
        world = factory_world
        issued = await enrol(world, ec.generate_private_key(ec.SECP256R1()))
        strange = commands.IssueDevice("wo-1", "BMS-999999", make_request())
        for _ in range(3):
            assert code_of(await ask_as(world, issued, strange)) == "serial-not-in-order"
        good = commands.IssueDevice("wo-1", "BMS-000001", make_request())
        assert code_of(await ask_as(world, issued, good)) == "station-suspended"
        assert [leaf["type"] for leaf in read_leaves(world)][-2:] == ["station.suspend", "auth.fail"]

    asyncio.run(run())


def test_only_the_enrolled_key_gets_the_certificate(factory_world: World) -> None:
    async def run() -> None:
        world, key = factory_world, ec.generate_private_key(ec.SECP256R1())
        with pytest.raises(RefusedError, match="station-unknown"):
            await certify(world, key)
        await enrol(world, key)
        with pytest.raises(RefusedError, match="station-key-wrong"):
            await certify(world, ec.generate_private_key(ec.SECP256R1()))
        before = world.room.ledger.journal.size
        await world.desk.record_suppressed()
        assert [leaf["type"] for leaf in read_leaves(world, before)] == ["suppressed"]

    asyncio.run(run())


@pytest.mark.req("AZ-4")
def test_the_same_certificate_until_a_third_of_its_life_is_left(factory_world: World) -> None:
    async def run() -> None:
        world, key = factory_world, ec.generate_private_key(ec.SECP256R1())
        first = await enrol(world, key)
        again = await certify(world, key)
        assert again.replayed
        assert again.certificate == first.certificate
        move_clock(world, LIFE * 2 / 3 + timedelta(minutes=1))
        second = await certify(world, key)
        assert not second.replayed
        assert second.certificate != first.certificate
        assert code_of(await ask_as(world, first, commands.ReadDocument("0" * 64))) == "document-unknown"
        move_clock(world, LIFE / 3)
        assert code_of(await ask_as(world, first, commands.ReadDocument("0" * 64))) == "client-certificate-expired"
        assert code_of(await ask_as(world, second, commands.ReadDocument("0" * 64))) == "document-unknown"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"classes": ["bms-none"]}, "class-unknown"),
        ({"addresses": ["192.0.2.7/24"]}, "write addresses as networks|has host bits"),
        ({"key": "ab"}, "plan-malformed"),
        ({"lines": []}, "plan-malformed"),
        ({"surplus": 1}, "plan-malformed"),
    ],
)
def test_plans_that_are_none(factory_world: World, changed: dict[str, Any], why: str) -> None:
    plan = plan_of(ec.generate_private_key(ec.SECP256R1())) | changed
    with pytest.raises(RefusedError, match=why):
        asyncio.run(factory_world.propose("odd", "station-enrol", plan))


@pytest.mark.req("AZ-4", "CA-13")
def test_a_revoked_certificate_opens_nothing_not_even_after_a_resume(factory_world: World) -> None:
    async def run() -> None:
        world, key = factory_world, ec.generate_private_key(ec.SECP256R1())
        issued = await enrol(world, key)
        number = f"{x509.load_pem_x509_certificate(issued.certificate).serial_number:x}"
        revoke = commands.RevokeCertificate(number=number, reason="keyCompromise", why="copied")
        await world.ask(revoke, "officer", commands.CertificateShown)
        request = commands.IssueDevice("wo-1", "BMS-000001", make_request())
        assert code_of(await ask_as(world, issued, request)) == "client-certificate-expired"
        with pytest.raises(RefusedError, match="station-suspended"):
            await certify(world, key)
        await world.ceremony("resume", "station-resume", {"station": NAME, "reason": "it was not"})
        assert code_of(await ask_as(world, issued, request)) == "client-certificate-expired"
        assert isinstance(await ask_as(world, await certify(world, key), request), DeviceIssued)

    asyncio.run(run())


@pytest.mark.req("T21")
def test_signatures_of_keys_that_nobody_enrolled_are_not_verified(factory_world: World) -> None:
    """Anybody may ask, and some keys take long: a request whose signature is wrong is refused for its key."""

    async def run() -> None:
        await enrol(factory_world, ec.generate_private_key(ec.SECP256R1()))
        request = bytearray(x509.load_pem_x509_csr(make_request()).public_bytes(Encoding.DER))
        request[-1] ^= 1
        answer = await factory_world.try_ask(commands.IssueStation(NAME, bytes(request)))
        assert code_of(answer) == "station-key-wrong"

    asyncio.run(run())


def test_one_key_is_one_station(factory_world: World) -> None:
    async def run() -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        await enrol(factory_world, key)
        with pytest.raises(RefusedError, match="has this key"):
            await factory_world.propose("twin", "station-enrol", plan_of(key, station="graz-3-b"))

    asyncio.run(run())


def test_a_resume_is_for_the_suspension_that_the_officers_saw(factory_world: World) -> None:
    async def run() -> None:
        world = factory_world
        await enrol(world, ec.generate_private_key(ec.SECP256R1()))
        await world.ask(commands.SuspendStation(NAME, "one"), "officer", StationsListed)
        await world.propose("resume", "station-resume", {"station": NAME, "reason": "over"})
        await world.ask(commands.SuspendStation(NAME, "another"), "officer", StationsListed)
        with pytest.raises(RefusedError, match="step-outdated"):
            await world.carry_out("resume", "bob", "carol")

    asyncio.run(run())


def test_who_comes_with_tokens_is_suspended_by_pseudonym_and_listed(factory_world: World) -> None:
    async def run() -> None:
        world = factory_world
        await world.ask(commands.IssueDevice("wo-1", "BMS-000001", make_request()), "station", DeviceIssued)
        name = read_leaves(world)[-1]["actor"]["sub"]
        listed = await world.ask(commands.SuspendStation(name, "a drill"), "officer", StationsListed)
        assert [(item.station, item.state) for item in listed.stations] == [(name, "suspended")]
        with pytest.raises(RefusedError, match="station-suspended"):
            await world.ask(commands.IssueDevice("wo-1", "BMS-000002", make_request()), "station", DeviceIssued)

    asyncio.run(run())
