"""The factory: who answers the commands of stations and of the people of a plant."""

from collections.abc import Mapping

from ceremonies import commands
from ceremonies.activations import Activations
from ceremonies.batches import Batches
from ceremonies.boards import Boards
from ceremonies.confirmation import Confirmations
from ceremonies.desk import Handler
from ceremonies.element_imports import ElementImports
from ceremonies.enrolment import Enrolment
from ceremonies.est import Est
from ceremonies.issuance import Issuance
from ceremonies.owners import Owners
from ceremonies.rework import Rework
from ceremonies.room import Room
from ceremonies.workorders import WorkOrders


def factory_handlers(room: Room) -> Mapping[type[commands.Command], Handler]:
    """The handlers, by command."""
    issuance, rework, orders = Issuance(room), Rework(room), WorkOrders(room)
    confirmations, enrolment = Confirmations(room, issuance.admit), Enrolment(room)
    activations, imports = Activations(room, issuance.admit), ElementImports(room)
    return {
        commands.IssueDevice: issuance.issue,
        commands.EnrolDevice: Est(room, issuance.issue, Owners(room)).enrol,
        commands.IssueStation: enrolment.issue,
        commands.ListStations: enrolment.list,
        commands.SuspendStation: enrolment.suspend,
        commands.RevokeStation: enrolment.revoke,
        commands.IssueDevices: Batches(room, issuance.issue).issue,
        commands.ConfirmDevice: confirmations.confirm,
        commands.ConfirmDevices: confirmations.confirm_all,
        commands.PermitRework: rework.permit,
        commands.ScrapDevice: rework.scrap,
        commands.ListWorkOrders: orders.list,
        commands.ShowWorkOrder: orders.show,
        commands.ReportUnits: orders.report,
        commands.ChallengeTpm: activations.challenge,
        commands.ActivateTpm: activations.activate,
        commands.CheckManifest: imports.check,
        commands.ListElements: imports.list,
        commands.ShowLineBoard: Boards(room).show,
    }
