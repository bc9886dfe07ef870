"""Who answers which command. Every command has one."""

from collections.abc import Mapping

from ceremonies import commands
from ceremonies.cmp import Cmp
from ceremonies.cmp_protection import Protection
from ceremonies.commands import Command
from ceremonies.conduct import Conduct
from ceremonies.desk import Handler
from ceremonies.exports import export_handlers
from ceremonies.factory import factory_handlers
from ceremonies.inquiries import register_handlers
from ceremonies.queries import Queries
from ceremonies.receipts import Receipts
from ceremonies.releases import Releases
from ceremonies.revocation import Revocation
from ceremonies.room import Room
from ceremonies.sightings import grant_handlers
from ceremonies.uploads import Uploads


def handlers(
    room: Room, revocation: Revocation | None = None, protection: Protection | None = None
) -> Mapping[type[Command], Handler]:
    """Every command with who answers it. revocation, protection: those whose chores run."""
    answering: dict[type[Command], Handler] = {
        **factory_handlers(room),
        **release_handlers(room),
        **ceremony_handlers(room),
        **reading_handlers(room),
        **export_handlers(room),
        **register_handlers(room),
        **grant_handlers(room),
        **(revocation or Revocation(room)).handlers,
    }
    return {**answering, commands.TransactCmp: Cmp(room, protection or Protection(room), answering).transact}


def release_handlers(room: Room) -> Mapping[type[Command], Handler]:
    """Releases, and what devices in the field say."""
    releases, receipts, uploads = Releases(room), Receipts(room), Uploads(room)
    return {
        commands.Upload: uploads.take,
        commands.SignRelease: releases.sign,
        commands.OpenChallenge: receipts.open_challenge,
        commands.SubmitReceipts: receipts.submit,
    }


def ceremony_handlers(room: Room) -> Mapping[type[Command], Handler]:
    """Ceremonies, and the emergency stop."""
    conduct = Conduct(room)
    return {
        commands.OpenCeremony: conduct.open,
        commands.OpenGenesis: conduct.open_genesis,
        commands.ListCeremonies: conduct.list,
        commands.ShowCeremony: conduct.show,
        commands.DecideStep: conduct.decide,
        commands.ExecuteStep: conduct.execute,
        commands.SuspendKey: conduct.suspend,
    }


def reading_handlers(room: Room) -> Mapping[type[Command], Handler]:
    """What may be read, exports aside."""
    queries = Queries(room)
    return {
        commands.ReadDocument: queries.read_document,
        commands.ListTrustSets: queries.list_trust_sets,
        commands.ListCounterUpdates: queries.list_counter_updates,
        commands.ListCertificates: queries.list_certificates,
        commands.ListKeys: queries.list_keys,
        commands.ShowProof: queries.show_proof,
        commands.ReadTile: queries.read_tile,
        commands.ListEvents: queries.list_events,
        commands.ShowHealth: queries.show_health,
    }
