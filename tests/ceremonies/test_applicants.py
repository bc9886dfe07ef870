"""Who may have an LDevID: built, in service, installed where the CA issues."""

import asyncio
from functools import partial

import pytest

from ceremonies.applicants import DeviceOutOfService, EnrolmentPending, find_applicant, find_place
from ceremonies.commands import Install, Ship
from ceremonies.devices import DeviceRevoked
from ceremonies.errors import DeviceUnknown, KeyroomError
from ceremonies.fleet_tables import RegisterRow
from ceremonies.journal import JournalForked
from ceremonies.standing import UnitScrapped
from tests.ceremonies.fielded import say_all
from tests.ceremonies.lines import scrap
from tests.ceremonies.owning import OWNED, Owner, decommission, operator, send_back
from tests.ceremonies.revoking import revoke
from tests.ceremonies.small import act
from tests.engines import tamper
from tests.world import SITE


def find(owner: Owner, serial: str = "") -> str:
    """The request's name, as the code of what refuses it."""
    try:
        applicant = act(owner.world, lambda: find_applicant(owner.world.room, "site-ca", serial or owner.unit.serial))
    except KeyroomError as error:
        return error.code
    return str(applicant.name_request("ab" * 32))


def test_an_applicant(owner: Owner) -> None:
    spki = owner.world.room.door.keyring.labelled("site-ca").spki
    assert find(owner) == f"ldevid/{owner.unit.serial}:0:{spki[:16]}:{'ab' * 16}"
    place = act(owner.world, lambda: find_applicant(owner.world.room, "site-ca", owner.unit.serial)).place
    assert (place.profile, place.site, place.life_s) == ("ldevid", OWNED, 365 * 86_400)
    assert find(owner, "BMS-000009") == DeviceUnknown.code


def test_a_device_through_its_life(owner: Owner) -> None:
    serial = owner.unit.serial
    asyncio.run(send_back(owner.world, serial))
    assert find(owner) == EnrolmentPending.code
    token = operator(owner.world)
    asyncio.run(say_all(owner.world, Ship(serial), Install(serial, "acme", SITE), token=token))
    assert find(owner) == "site-mismatch"
    asyncio.run(decommission(owner.world, serial))
    assert find(owner) == DeviceOutOfService.code


def test_a_unit_that_is_gone(owner: Owner) -> None:
    revoke(owner.world, owner.unit.serial)
    assert find(owner) == DeviceRevoked.code
    asyncio.run(scrap(owner.world, owner.unit))
    assert find(owner) == UnitScrapped.code


@pytest.mark.req("T5")
@pytest.mark.parametrize("change", ["site = 'linz-1'", "seq = 1", "state = 'shipped'", "serial = 'BMS-000009'"])
def test_a_place_that_its_entry_does_not_say(owner: Owner, change: str) -> None:
    tamper(owner.world.room.store, f"UPDATE register SET {change}")  # the parameters above
    with pytest.raises(JournalForked):
        for serial in (owner.unit.serial, "BMS-000009"):
            act(owner.world, partial(find_place, owner.world.room, serial))


@pytest.mark.req("T5")
@pytest.mark.parametrize("gone", [False, True])
def test_a_place_that_a_device_has_left(owner: Owner, gone: bool) -> None:
    """A row of before is what its own entry says, and not where the device is."""
    store, serial = owner.world.room.store, owner.unit.serial
    before = store.find(RegisterRow, serial=serial)
    assert before is not None
    asyncio.run(send_back(owner.world, serial))
    asyncio.run(say_all(owner.world, Ship(serial), token=operator(owner.world)))
    assert find(owner) == EnrolmentPending.code
    fields = ", ".join(f"{name} = {value!r}" for name, value in before.items())
    tamper(store, "DELETE FROM register" if gone else f"UPDATE register SET {fields}")
    with pytest.raises(JournalForked):
        act(owner.world, partial(find_place, owner.world.room, serial))
