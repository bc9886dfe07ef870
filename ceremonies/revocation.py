"""Revocation as the keyroom's process runs it: who answers which command, and what is done again and again."""

from collections.abc import Awaitable, Callable, Mapping

from ceremonies import commands
from ceremonies.commands import Command
from ceremonies.crls import TURN_EVERY_S, Crls
from ceremonies.desk import Handler
from ceremonies.revocations import Revocations
from ceremonies.room import Room
from ceremonies.selections import Selections
from ceremonies.statuses import Statuses

ANSWERS_EVERY_S = 3600


class Revocation:
    """Lists, answers, and what officers ask; in one place, because a chore counts what a handler did.

    last: what is done once more before the keyroom ends.
    """

    def __init__(self, room: Room) -> None:
        crls, statuses, revocations = Crls(room), Statuses(room), Revocations(room)
        self.handlers: Mapping[type[Command], Handler] = {
            commands.RevokeCertificate: revocations.revoke,
            commands.PreviewRevocation: Selections(room).preview,
            commands.ShowCertificate: revocations.show,
            commands.ListRevocations: crls.show,
            commands.AskStatus: statuses.answer,
        }
        self.chores: tuple[tuple[Callable[[], Awaitable[object]], float], ...] = (
            (crls.turn, TURN_EVERY_S),
            (statuses.record, ANSWERS_EVERY_S),
        )
        self.last = statuses.record
