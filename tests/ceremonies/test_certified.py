"""Issued certificates are found as the journal records them, whatever the rows say."""

import asyncio

import pytest

from ceremonies.certified import (
    CertificateUnknown,
    find_by_number,
    find_by_serial,
    load_authority,
    read_issued,
    read_outcome,
    read_released,
    walk_authority,
    walk_order,
)
from ceremonies.journal import JournalForked
from ceremonies.revoked import write_number
from ceremonies.tables import ReservationRow
from tests.ceremonies.examples import write_sql
from tests.ceremonies.revoking import authority, issue
from tests.ceremonies.small import act
from tests.world import World


@pytest.mark.req("CA-3")
def test_a_certificate_is_found_by_serial_and_by_number(factory_world: World) -> None:
    world, room = factory_world, factory_world.room
    (certificate,) = issue(world, 1)
    number = write_number(certificate.serial_number)
    assert room.store.find(ReservationRow, name=f"number:{number}") is not None
    by_serial = act(world, lambda: find_by_serial(room, "BMS-000001"))
    assert act(world, lambda: find_by_number(room, number)) == by_serial
    ca = room.door.keyring.labelled("device-ca").spki
    assert (by_serial.ca, by_serial.number, by_serial.serial) == (ca, number, "BMS-000001")
    assert by_serial.kind == "certificate.idevid"
    assert act(world, lambda: find_by_number(room, write_number(1 << 100))) is None
    with pytest.raises(CertificateUnknown, match="BMS-000009"):
        act(world, lambda: find_by_serial(room, "BMS-000009"))


def test_a_ca_is_found_by_its_number(genesis_world: World) -> None:
    world, room = genesis_world, genesis_world.room
    number = write_number(authority(world, "device-ca").serial_number)
    found = act(world, lambda: find_by_number(room, number))
    assert found is not None
    root = room.door.keyring.labelled("identity-root").spki
    assert (found.kind, found.ca) == ("certificate.device-ca", root)
    ca = room.door.keyring.labelled("device-ca").spki
    issuer = act(world, lambda: load_authority(room, ca))
    assert issuer is not None
    assert (issuer.profile, issuer.spki) == ("device-ca", ca)
    assert act(world, lambda: load_authority(room, room.door.keyring.labelled("director").spki)) is None


@pytest.mark.engines
@pytest.mark.req("CA-9")
def test_what_was_issued_is_listed_by_order_and_by_ca(factory_world: World) -> None:
    world, room = factory_world, factory_world.room
    asyncio.run(world.open_order("wo-10"))
    numbers = {write_number(item.serial_number) for item in issue(world, 1, 2)}
    size = room.ledger.journal.size
    later = issue(world, 3)
    assert {item.number for item in walk_order(room.store, "wo-1", size)} == numbers
    assert len(list(walk_order(room.store, "wo-1", size + 99))) == 3
    assert list(walk_order(room.store, "wo-10", size + 99)) == []
    assert list(walk_order(room.store, "wo", size + 99)) == []
    keyring = room.door.keyring
    by_ca = {item.number for item in walk_authority(room.store, keyring.labelled("device-ca").spki, size + 99)}
    assert by_ca == numbers | {write_number(later[0].serial_number)}
    by_root = walk_authority(room.store, keyring.labelled("identity-root").spki, size)
    cas = {"certificate.device-ca", "certificate.service-ca", "certificate.site-ca"}
    assert {item.kind for item in by_root} == cas


@pytest.mark.req("T5")
def test_rows_that_lead_astray_are_found(factory_world: World) -> None:
    world, room = factory_world, factory_world.room
    first, second = (write_number(item.serial_number) for item in issue(world, 1, 2))
    write_sql(world, "DELETE FROM reservation WHERE name = :name", name=f"number:{second}")
    write_sql(
        world, "UPDATE reservation SET name = :new WHERE name = :old", new=f"number:{second}", old=f"number:{first}"
    )
    with pytest.raises(JournalForked, match="another certificate"):
        act(world, lambda: find_by_number(room, second))
    write_sql(
        world,
        "UPDATE device SET certificate = (SELECT certificate FROM device WHERE serial = 'BMS-000002') "
        "WHERE serial = 'BMS-000001'",
    )
    with pytest.raises(JournalForked, match="another certificate"):
        act(world, lambda: find_by_serial(room, "BMS-000001"))


def test_entries_that_released_none(factory_world: World) -> None:
    world, room = factory_world, factory_world.room
    with pytest.raises(JournalForked, match="no certificate"):
        act(world, lambda: read_issued(room, 0))
    assert read_outcome(0, b'{"type":"key.sign.outcome","op":{"kind":"crl"},"out":{"status":"ok"}}') is None
    with pytest.raises(JournalForked):
        act(world, lambda: read_released(room, "00" * 32, "certificate.idevid"))
