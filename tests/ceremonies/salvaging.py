"""A world whose database is older than its anchors, and officers who let it go on."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from ceremonies.approvals import Decision, parse_template, statement_bytes
from ceremonies.commands import DeviceIssued
from ceremonies.losses import FILE, Proposal, propose_recovery
from ceremonies.public import Publisher
from tests.world import World, issue_device, make_request

REASON = "disk 3 burnt; backup of last night"


class Loss:
    """`world` is stopped, on yesterday's database. `lost`: what was sealed since. `checkpoint`: what auditors saw."""

    def __init__(self, world: World, path: Path, lose: Callable[[], object] = lambda: None) -> None:
        """From a started world with the work order wo-1. lose: what else is done and lost."""
        self.world, self.directory = world, path / "recovery"
        self.directory.mkdir()
        asyncio.run(issue_device(world, 1, make_request()))
        self.known = world.room.ledger.journal.size
        self.uses = {key.label: key.uses for key in world.room.door.keyring}
        world.stop()
        data = world.path / "data"
        shutil.copytree(data, path / "yesterday")
        world.start()
        self.lost: list[DeviceIssued] = [asyncio.run(issue_device(world, at, make_request())) for at in (2, 3)]
        lose()
        asyncio.run(Publisher(world.room).publish())
        self.size = world.room.ledger.journal.size
        world.stop()
        self.anchor = data / "anchor"
        self.checkpoint = self.anchor.read_bytes()
        shutil.rmtree(data)
        shutil.copytree(path / "yesterday", data)
        self.anchor.write_bytes(self.checkpoint)

    def propose(self, reason: str = REASON) -> Proposal:
        """Write what officers approve."""
        proposal = propose_recovery(self.world.settings(), self.world.around, reason, self.world.strongbox)
        (self.directory / FILE).write_bytes(msgspec.json.encode(proposal))
        return proposal

    def approve(self, *officers: str, decision: Decision = "approve") -> None:
        """Officers sign it."""
        proposal = msgspec.json.decode((self.directory / FILE).read_bytes(), type=Proposal)
        for officer in officers:
            statement = statement_bytes(parse_template(proposal.template), officer, decision)
            name = f"{proposal.ceremony}-plan-{officer}.json"
            (self.directory / name).write_bytes(statement)
            (self.directory / f"{name}.sig").write_text(self.world.officers[officer].sign(statement))

    def recover(self) -> World:
        """Start with the directory."""
        return self.world.start(msgspec.structs.replace(self.world.settings(), recovery=self.directory))
