"""Keys of TPMs: an endorsement certificate alone says nothing of another key; the answer to a challenge does."""

import asyncio
from typing import Any

import msgspec
import pytest

from ceremonies import activations, commands
from ceremonies.commands import Problem, TpmActivated, TpmChallenged
from ceremonies.element_tables import ElementRow
from ceremonies.events import describe_entry
from pki.elements.areas import DEMANDED
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.lines import check_books
from tests.ceremonies.protected import GOOD, ORDERS, TPM, Chip, run, serial_of, station
from tests.makers import Maker
from tests.world import World, audit_world, make_request


async def refuse(world: World, command: commands.AnyCommand, token: str = "") -> str:
    answer = await world.try_ask(command, token=token or station(world, TPM))
    assert isinstance(answer, Problem), answer
    return answer.code


@pytest.mark.req("CA-2")
def test_an_answered_challenge_is_an_entry_and_again_the_same_one(protected_world: World) -> None:
    world, chip = protected_world, Chip()
    first, again = run(chip.activate(world, 1), chip.activate(world, 1))
    assert (first.replayed, again.replayed) == (False, True)
    assert again == msgspec.structs.replace(first, replayed=True)
    (row,) = world.room.store.list(ElementRow, "spki")
    assert (row["spki"], row["serial"], row["seq"]) == (first.key, serial_of(1), first.index)
    (leaf,) = [leaf for leaf in read_leaves(world) if leaf["type"] == "element.activate"]
    for name, data in (("endorsement", chip.endorsement), ("area", chip.area)):
        assert world.room.store.blob(leaf["op"]["what"][name]) == data
    chip.make_key()
    second: TpmActivated = run(chip.activate(world, 1))[0]
    assert second.ident == first.ident and second.key != first.key
    check_books(world)
    assert asyncio.run(audit_world(world)).verdict == "authenticated"


@pytest.mark.req("CA-2", "T2")
def test_what_is_no_answer(protected_world: World) -> None:
    world, chip = protected_world, Chip()

    async def play() -> list[str]:
        given = await chip.challenge(world, 1)
        answer = chip.answer(1, given)
        other = station(world, TPM, "station-2")
        codes = [await refuse(world, answer, other)]
        codes.append(await refuse(world, msgspec.structs.replace(answer, serial=serial_of(2))))
        codes.append(await refuse(world, msgspec.structs.replace(answer, challenge="0" * 32)))
        codes.append(await refuse(world, msgspec.structs.replace(answer, secret=bytes(32))))
        codes.append(await refuse(world, answer))  # it was spent by the wrong answer
        used = chip.answer(1, await chip.challenge(world, 1))
        await world.ask(used, "", TpmActivated, station(world, TPM))
        return [*codes, await refuse(world, used)]

    unknown = "tpm-challenge-unknown"
    assert asyncio.run(play()) == [unknown, unknown, unknown, "tpm-activation-failed", unknown, unknown]
    why = [leaf["out"]["why"] for leaf in read_leaves(world) if leaf["type"] == "element.activate" and "out" in leaf]
    assert len(why) == 6
    check_books(world)


@pytest.mark.req("CA-2")
def test_a_challenge_ends(protected_world: World) -> None:
    world, chip, late = protected_world, Chip(), [0]
    world.stop()
    clock = world.around.now_us
    world.around = msgspec.structs.replace(world.around, now_us=lambda: clock() + late[0] * 1_000_000)
    world.start()
    given = run(chip.challenge(world, 1))[0]
    late[0] = activations.LIFE_S + 1
    assert run(refuse(world, chip.answer(1, given)))[0] == "tpm-challenge-unknown"
    given = run(chip.challenge(world, 1))[0]
    world.stop()
    world.start()
    assert run(refuse(world, chip.answer(1, given)))[0] == "tpm-challenge-unknown"


def test_a_station_with_many_challenges_loses_its_oldest(
    protected_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "EACH", 2)
    world, chip = protected_world, Chip()
    token = station(world, TPM, "station-2")

    async def play() -> list[str]:
        other = await world.ask(chip.request(1), "", TpmChallenged, token)
        first, *rest = [await chip.challenge(world, 1) for _ in range(3)]
        await world.ask(chip.answer(1, other), "", TpmActivated, token)
        codes = [await refuse(world, chip.answer(1, first))]
        for given in rest:
            await world.ask(chip.answer(1, given), "", TpmActivated, station(world, TPM))
        return codes

    assert asyncio.run(play()) == ["tpm-challenge-unknown"]


@pytest.mark.req("CA-2")
def test_what_gets_no_challenge(protected_world: World) -> None:
    world, chip = protected_world, Chip()
    path, area = "element-path-refused", "tpm-area-refused"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"endorsement": Chip(Maker("TPM EK CA")).endorsement}, path),  # of a maker who is not pinned
        ({"chain": ()}, path),
        ({"endorsement": b"0"}, path),
        ({"area": b"0"}, area),
    ]
    for changed, code in wrong:
        assert run(refuse(world, chip.request(1, **changed))) == [code]
    for bit in DEMANDED:  # keys that may leave their TPM
        chip.make_key(GOOD & ~(1 << bit))
        assert run(refuse(world, chip.request(1))) == ["tpm-area-refused"]


@pytest.mark.req("CA-2")
@pytest.mark.engines
def test_one_tpm_is_of_one_serial(protected_world: World) -> None:
    world, chip, other = protected_world, Chip(), Chip()
    run(chip.activate(world, 1), other.activate(world, 2))
    codes = run(refuse(world, chip.request(3)), refuse(world, Chip().request(1)))
    chip.make_key()
    codes += run(refuse(world, chip.request(2)))
    assert codes == ["element-taken"] * 3
    leaf = [leaf for leaf in read_leaves(world) if leaf["type"] == "element.activate"][-1]
    assert leaf["op"]["what"]["strange"] is True
    event = describe_entry(1, leaf)
    assert (event.severity, event.alarm) == ("critical", "key-cloned")
    assert world.room.counters["cloned_keys"] == 3
    assert run(refuse(world, Chip().request(4)))[0] == "station-suspended"


def test_two_challenges_for_one_tpm_and_the_second_answer_is_refused(protected_world: World) -> None:
    world, chip = protected_world, Chip()
    one, two = run(chip.challenge(world, 1), chip.challenge(world, 2))
    run(world.ask(chip.answer(1, one), "", TpmActivated, station(world, TPM)))
    assert run(refuse(world, chip.answer(2, two))) == ["element-taken"]


def test_a_permit_for_rework_lets_a_serial_have_another_tpm(protected_world: World) -> None:
    world, order, old, new = protected_world, "wo-rework", Chip(), Chip()
    token = station(world, TPM)

    async def certify(chip: Chip) -> commands.DeviceIssued:
        given = await world.ask(chip.request(20, order), "", TpmChallenged, token)
        await world.ask(chip.answer(20, given, order), "", TpmActivated, token)
        issue = commands.IssueDevice(order, serial_of(20), make_request(chip.key))
        return await world.ask(issue, "", commands.DeviceIssued, token)

    async def play() -> None:
        await world.open_order(order, class_name=TPM, rework_quantity=1)
        await certify(old)
        assert await refuse(world, new.request(20, order)) == "element-taken"
        permit = commands.PermitRework(order, serial_of(20), "new board")
        await world.ask(permit, "operator", commands.ReworkPermitted)
        await certify(new)
        new.make_key()  # a second key of the same TPM needs no permit
        await world.ask(new.request(20, order), "", TpmChallenged, token)

    asyncio.run(play())
    check_books(world)


@pytest.mark.req("AZ-2")
def test_a_station_of_another_class_or_order_gets_none(protected_world: World) -> None:
    world, chip = protected_world, Chip()
    other = station(world, "bms-stm32h7")
    codes = run(
        refuse(world, chip.request(1), other),
        refuse(world, chip.request(99)),
        refuse(world, chip.request(1, "wo-none")),
        refuse(world, commands.ActivateTpm(ORDERS[TPM], serial_of(1), "0" * 32, b"x"), other),
    )
    assert codes == ["binding-mismatch", "serial-not-in-order", "work-order-unknown", "binding-mismatch"]
    assert run(refuse(world, chip.request(1), world.role_token("officer"))) == ["role-refused"]


def test_a_soft_key_with_a_true_endorsement_never_gets_the_secret(protected_world: World) -> None:
    """Whoever has a TPM and writes an area for another key: the TPM computes with the Name of what it holds."""
    world, chip = protected_world, Chip()
    held = chip.area
    chip.make_key()
    given = run(chip.challenge(world, 1))[0]
    chip.area = held
    with pytest.raises(AssertionError, match="INTEGRITY"):
        chip.answer(1, given)
