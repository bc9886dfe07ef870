"""Devices as callers: by certificates that were issued here and count."""

import asyncio

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ceremonies import commands
from ceremonies.commands import Problem, Request
from ceremonies.devices import ASKED, Allowance, Devices, DeviceTooFast
from ceremonies.errors import TokenRefused
from ceremonies.journal import JournalForked
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.lines import Unit, code_of, permit
from tests.ceremonies.owning import Owner, der_of
from tests.ceremonies.revoking import authority
from tests.engines import tamper
from tests.world import World


@pytest.mark.req("AZ-4", "T25")
def test_a_device_is_bound_to_its_serial_and_with_an_ldevid_to_the_ca_of_that(owner: Owner) -> None:
    devices = Devices(owner.world.room)
    known = asyncio.run(devices.identify(der_of(owner.unit.held)))
    assert (known.role, known.sub, known.bindings) == ("device", owner.unit.serial, {"serial": (owner.unit.serial,)})
    assert known.expires.year == 9999
    issued = asyncio.run(owner.enrol())
    bound = asyncio.run(devices.identify(der_of(issued)))
    assert bound.bindings == {"serial": (owner.unit.serial,), "authority": ("site-ca",)}
    assert bound.cred != known.cred


@pytest.mark.req("AZ-4")
def test_a_device_may_enrol_and_nothing_else(owner: Owner) -> None:
    for command in (commands.ListKeys(), commands.IssueDevice("wo-1", owner.unit.serial, b"0")):
        request = Request(1, command, "", "192.0.2.9", der_of(owner.unit.held))
        assert code_of(asyncio.run(owner.world.desk.answer(request, local=False))) == "role-refused"


@pytest.mark.req("T25")
def test_certificates_that_make_no_device(owner: Owner) -> None:
    world = owner.world
    ours = [authority(world, label).public_bytes(Encoding.DER) for label in ("device-ca", "site-ca", "identity-root")]
    own = x509.load_der_x509_certificate(der_of(owner.unit.held))
    for shown in (*ours, own.tbs_certificate_bytes, b"0\x82"):
        with pytest.raises(TokenRefused, match="no station and no device"):
            asyncio.run(Devices(world.room).identify(shown))


@pytest.mark.req("T5")
def test_a_row_that_makes_something_else_a_device(owner: Owner) -> None:
    tamper(owner.world.room.store, "UPDATE document SET kind = 'certificate.idevid' WHERE kind = 'certificate.site-ca'")
    shown = authority(owner.world, "site-ca").public_bytes(Encoding.DER)
    with pytest.raises(JournalForked):
        asyncio.run(Devices(owner.world.room).identify(shown))


def test_an_idevid_that_rework_replaced_is_revoked_and_so_is_what_rested_on_it(genesis_world: World) -> None:
    async def run() -> None:
        world = genesis_world
        await world.open_order(rework_quantity=1)
        unit = Unit(1)
        await unit.issue(world)
        await permit(world, unit)
        await Unit(1).issue(world)
        with pytest.raises(TokenRefused, match="was revoked"):
            await Devices(world.room).identify(der_of(unit.held))

    asyncio.run(run())


def test_an_allowance_fills_again_with_time() -> None:
    allowance = Allowance(2, 10_000_000)
    allowance.spend("a", 0)
    allowance.spend("a", 4_000_000)
    allowance.spend("b", 4_000_000)
    with pytest.raises(DeviceTooFast) as caught:
        allowance.spend("a", 9_000_000)
    assert caught.value.details == {"retry_after": 2}
    allowance.spend("a", 10_000_000)
    with pytest.raises(DeviceTooFast):
        allowance.spend("a", 13_999_999)
    allowance.give_back("a")
    allowance.give_back("nobody")
    allowance.spend("a", 13_999_999)


@pytest.mark.req("T21")
def test_a_device_that_asks_without_end_does_not_fill_the_journal(owner: Owner) -> None:
    async def run() -> list[str]:
        answers = []
        for _ in range(ASKED[0] + 3):
            request = Request(1, commands.ListKeys(), "", "192.0.2.9", der_of(owner.unit.held))
            answer = await owner.world.desk.answer(request, local=False)
            assert isinstance(answer, Problem)
            answers.append(answer.code)
        return answers

    before = owner.world.room.ledger.journal.size
    assert asyncio.run(run()) == ["role-refused"] * ASKED[0] + ["device-too-fast"] * 3
    assert len(read_leaves(owner.world, before)) == ASKED[0]
