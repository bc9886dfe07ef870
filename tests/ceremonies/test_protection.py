"""A class that demands hardware gives certificates to keys that are known to live there, and to no others."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ceremonies import commands
from ceremonies.commands import DeviceConfirmed, DeviceIssued
from ceremonies.element_tables import ElementRow
from ceremonies.journal import JournalForked
from pki.signatures import spki_der, spki_sha256
from tests.ceremonies.field import count_rules, read_leaves
from tests.ceremonies.fielded import say_all
from tests.ceremonies.lines import Unit, check_books
from tests.ceremonies.lines import code_of as say
from tests.ceremonies.owning import OWNED, Owner, make_site_ca, operator, place
from tests.ceremonies.protected import (
    ELEMENT,
    FOUNDRY,
    ORDERS,
    TPM,
    Chip,
    ask,
    code_of,
    import_elements,
    run,
    station,
)
from tests.ceremonies.revoking import Watch, revoke
from tests.ceremonies.test_rework import number_of
from tests.engines import tamper
from tests.makers import make_key
from tests.world import SITE, World, audit_world, make_request


@pytest.mark.req("CA-2")
def test_keys_of_elements_and_tpms_get_certificates_and_soft_keys_get_none(protected_world: World) -> None:
    world, known, chip = protected_world, make_key(), Chip()
    run(import_elements(world, "delivery-1", FOUNDRY.deliver(known, make_key())), chip.activate(world, 2))
    answers = run(
        ask(world, ELEMENT, 1, known), ask(world, ELEMENT, 1, known), ask(world, ELEMENT, 2, make_key()),
        ask(world, ELEMENT, 2, known), ask(world, ELEMENT, 3, chip.key), ask(world, TPM, 2, chip.key),
        ask(world, TPM, 3, make_key()), ask(world, TPM, 3, known), ask(world, TPM, 4, chip.key),
    )  # fmt: skip
    assert [code_of(answer) for answer in answers] == [
        "", "", "key-unprotected", "key-known", "key-unprotected", "", "key-unprotected", "key-unprotected",
        "element-taken",
    ]  # fmt: skip
    assert [answer.replayed for answer in answers if isinstance(answer, DeviceIssued)] == [False, True, False]
    assert count_rules(read_leaves(world), "key-unprotected") == 4
    shown = run(world.ask(commands.ShowWorkOrder(ORDERS[TPM]), "auditor", commands.WorkOrderShown))[0]
    assert (shown.used, shown.refused) == (1, 3)
    check_books(world)


@pytest.mark.req("CA-2")
def test_who_asks_and_what_for_is_said_before_the_protection(protected_world: World) -> None:
    world = protected_world
    command = commands.IssueDevice(ORDERS[ELEMENT], "BMS-000001", b"no request")
    tokens = [world.token("station", plant="graz", **{"class": name}) for name in (ELEMENT, TPM)]
    answers = run(*(world.try_ask(command, token=token) for token in tokens))
    assert [answer.code for answer in answers] == ["request-malformed", "request-malformed"]
    other = commands.IssueDevice(ORDERS[ELEMENT], "OTHER-1", b"no request")
    assert run(world.try_ask(other, token=tokens[0]))[0].code == "request-malformed"


@pytest.mark.req("CA-2", "T5")
def test_a_row_that_the_journal_does_not_bear_out_protects_nothing(protected_world: World) -> None:
    world, soft, chip = protected_world, make_key(), Chip()
    run(import_elements(world, "delivery-1", FOUNDRY.deliver(make_key())), chip.activate(world, 2))
    spki = spki_sha256(spki_der(soft.public_key()))
    rows = world.room.store.list(ElementRow, "seq")
    for row, kind in [(row, kind) for row in rows for kind in ("secure-element", "tpm")]:
        values = f"'{spki}', '{kind}', 'x', '{'BMS-000001' if kind == 'tpm' else ''}', {row['seq']}"
        tamper(world.room.store, f"INSERT INTO element (spki, kind, ident, serial, seq) VALUES ({values})")
        answer = run(ask(world, ELEMENT if kind == "secure-element" else TPM, 1, soft))[0]
        assert code_of(answer) == JournalForked.code
        tamper(world.room.store, f"DELETE FROM element WHERE spki = '{spki}'")
    check_books(world)


def test_imports_are_read_once_and_a_few_are_remembered(
    protected_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ceremonies.protection.IMPORTS_KEPT", 1)
    world, keys = protected_world, [make_key(), make_key()]
    run(*(import_elements(world, f"d-{at}", FOUNDRY.deliver(key, first=at)) for at, key in enumerate(keys, 1)))
    answers = run(ask(world, ELEMENT, 1, keys[0]), ask(world, ELEMENT, 2, keys[1]), ask(world, ELEMENT, 1, keys[0]))
    assert [code_of(answer) for answer in answers] == ["", "", ""]


async def make_device(world: World, class_name: str, number: int, key: ec.EllipticCurvePrivateKey) -> Owner:
    """A device of a class at the site of `site-ca`."""
    unit, token = Unit(number, ORDERS[class_name], key), station(world, class_name)
    await unit.issue(world, token)
    await world.ask(unit.confirmation(), "", DeviceConfirmed, token)
    await place(world, unit.serial)
    return Owner(world, unit, Watch(world))


@pytest.mark.req("CA-2", "CA-11")
def test_an_ldevid_is_for_a_key_of_a_tpm_too(protected_world: World) -> None:
    world, chip, known = protected_world, Chip(), make_key()
    run(import_elements(world, "delivery-1", FOUNDRY.deliver(known)), chip.activate(world, 1))
    first = make_request(chip.key)
    device: Owner = run(make_device(world, TPM, 1, chip.key))[0]
    chip.make_key()
    second = make_request(chip.key)
    before = world.room.ledger.journal.size
    # A soft key, another kind of hardware, a key of this TPM that nobody has activated yet.
    refused = run(device.ask(), device.ask(make_request(known)), device.ask(second))
    assert [say(answer) for answer in refused] == ["key-unprotected"] * 3
    leaves = read_leaves(world)[before:]
    assert [(leaf.type, leaf.op and leaf.op.kind) for leaf in leaves] == [("key.sign.denied", "certificate.ldevid")] * 3
    answers = run(device.ask(first), device.ask(first), chip.activate(world, 1), device.ask(second), device.ask(first))
    assert " ".join(map(say, answers)) == "DeviceIssued replayed TpmActivated DeviceIssued key-used"
    other = Chip()
    run(other.activate(world, 2))
    assert say(run(device.ask(make_request(other.key)))[0]) == "element-taken"
    check_books(world)
    assert run(audit_world(world))[0].verdict == "authenticated"


@pytest.mark.req("CA-2", "CA-11", "CA-14")
def test_the_one_key_of_an_element_goes_with_its_device_to_another_site(protected_world: World) -> None:
    world, key = protected_world, make_key()
    run(import_elements(world, "delivery-1", FOUNDRY.deliver(key)), make_site_ca(world, "hornsea-ca", SITE))
    device: Owner = run(make_device(world, ELEMENT, 1, key))[0]
    request, serial = make_request(key), device.unit.serial
    assert [say(answer) for answer in run(device.ask(), device.ask(request))] == ["key-unprotected", "DeviceIssued"]
    moved, back = (commands.Move(serial, site) for site in (SITE, OWNED))
    run(say_all(world, moved, token=operator(world)))
    there: DeviceIssued = run(device.enrol(request, authority="hornsea-ca"))[0]
    assert say(run(device.ask(request, authority="hornsea-ca"))[0]) == "replayed"
    revoke(world, "", number=number_of(there))  # its key is compromised, somebody says
    run(say_all(world, back, token=operator(world)))
    assert say(run(device.ask(request))[0]) == "certificate-withdrawn"
    check_books(world)


@pytest.mark.req("CA-2", "T5")
def test_a_class_that_the_journal_does_not_bear_out_demands_nothing_less(protected_world: World) -> None:
    world, key = protected_world, make_key()
    run(import_elements(world, "delivery-1", FOUNDRY.deliver(key)))
    device: Owner = run(make_device(world, ELEMENT, 1, key))[0]
    tamper(world.room.store, "UPDATE device SET class_name = 'bms-stm32h7'")
    assert say(run(device.ask())[0]) == JournalForked.code
