"""What the journal says of keys in hardware, and rows that are compared with it."""

import pytest

from ceremonies.elements import ACTIVATE, IMPORT, Element, Elements, check_elements, read_facts, tally_elements
from ceremonies.journal import JournalForked
from ceremonies.upkeep import Upkeep
from tests.ceremonies.protected import Chip, run
from tests.ceremonies.test_upkeep import restart, scrub_all
from tests.engines import tamper
from tests.world import World

ROWS = (Element("aa" * 32, "secure-element", "01" * 9), Element("bb" * 32, "tpm", "cc" * 32, "BMS-000001"))


def test_every_field_counts_and_the_order_does_not() -> None:
    digests = {
        Element(spki, kind, ident, serial).digest
        for spki in ("a", "b")
        for kind in ("tpm", "secure-element")
        for ident in ("", "c")
        for serial in ("", "d")
    }
    assert len(digests) == 16
    assert tally_elements(ROWS) == tally_elements(ROWS[::-1]) != tally_elements(ROWS[:1])


def test_entries_give_the_tally_of_the_rows_and_refusals_give_none() -> None:
    elements, (element, tpm) = Elements(), ROWS
    first = tally_elements([element])
    elements.take({"type": IMPORT, "op": {"what": {"count": first.count, "total": first.total}}})
    facts = {"spki": tpm.spki, "ident": tpm.ident, "serial": tpm.serial}
    assert read_facts(facts) == tpm
    activation = {"type": ACTIVATE, "op": {"what": facts}}
    elements.take({**activation, "out": {"status": "denied"}})
    elements.take({"type": "device.ship", "op": {"what": {}}})
    assert elements.tally == first
    elements.take(activation)
    assert elements.tally == tally_elements(ROWS)


@pytest.mark.req("T5", "AU-3")
def test_a_row_that_was_changed_is_found_at_the_start_and_by_the_upkeep(
    protected_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ceremonies.upkeep.EVERY", 10)
    monkeypatch.setattr("ceremonies.upkeep.WORTH", 1)
    world, ended = protected_world, list[int]()
    run(Chip().activate(world, 1), Upkeep(world.room, ended.append).turn())
    with world.room.store.read() as connection:
        check_elements(connection, world.room.ledger.replay.elements.tally)
    tamper(world.room.store, "UPDATE element SET serial = 'BMS-000002'")
    restart(world)
    run(scrub_all(Upkeep(world.room, ended.append)))
    assert ended
    world.stop()
    with pytest.raises(JournalForked, match="element"):
        world.start()
    world.stopped = True
