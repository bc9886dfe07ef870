"""Who answers which command about exports: the whole journal, what is new in it, one party's part, its figures."""

from collections.abc import Mapping

from ceremonies.commands import Command, ExportJournal, ExportParty, SummarizeJournal
from ceremonies.desk import Handler
from ceremonies.export import Export
from ceremonies.parties import PartyExport
from ceremonies.room import Room
from ceremonies.summaries import Summaries


def export_handlers(room: Room) -> Mapping[type[Command], Handler]:
    """The handlers of exports for one keyroom."""
    return {
        ExportJournal: Export(room).export,
        ExportParty: PartyExport(room).export,
        SummarizeJournal: Summaries(room).summarize,
    }
