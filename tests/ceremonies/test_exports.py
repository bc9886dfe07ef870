"""Every command about exports has its handler."""

from ceremonies.commands import ExportJournal, ExportParty, SummarizeJournal
from ceremonies.exports import export_handlers
from tests.world import World


def test_every_command_about_exports_is_answered(genesis_world: World) -> None:
    assert export_handlers(genesis_world.room).keys() == {ExportJournal, ExportParty, SummarizeJournal}
