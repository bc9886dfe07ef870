"""A factory floor: a keyroom as a process, an API with mutual TLS that comes and goes, stations that were enrolled."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ceremonies.commands import DocumentsListed, ListCertificates
from tests.api.cli.running import ROOT, answer, kedge
from tests.ceremonies.authorities import Authority
from tests.postgres import free_port
from tests.scenarios.keyrooms import Running
from tests.scenarios.serving import served_mutually
from tests.world import CLASS, PLANT, World, copy_world

ENROLLED: Mapping[str, list[str]] = {"graz-3-a": [CLASS], "graz-screen": []}
"""Stations and their classes: one that works, and a screen."""


class Floor:
    """Where everything is. `url` is the API's, also while it is away."""

    def __init__(self, path: Path, world: World, authority: Authority) -> None:
        self.path, self.world, self.ca, self.port = path, world, authority.ca, free_port()
        self.url = f"https://localhost:{self.port}"
        self._authority = authority

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """The API is there until the block ends."""
        with served_mutually(self.world, self._authority, self.path / "stations.pem", PORT=self.port):
            yield

    def arguments(self, *arguments: str | Path, station: str = "graz-3-a", token: str = "") -> list[str]:
        """`kedge station ...` as this station, or as the bearer of a token."""
        access = ["--identity", str(self.path / station)]
        if token:
            (self.path / "token").write_text(token)
            access = ["--token-file", str(self.path / "token")]
        return ["--json", "station", "--url", self.url, "--ca", str(self.ca), *access, *map(str, arguments)]

    def kedge(
        self, *arguments: str | Path, status: int = 0, station: str = "graz-3-a", token: str = ""
    ) -> list[dict[str, Any]]:
        """Run it to its end, which must be this; what it says, line by line."""
        done = kedge(*self.arguments(*arguments, station=station, token=token))
        assert done.exit_code == status, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Let it run."""
        command = [sys.executable, "-m", "api.cli.main", *self.arguments(*arguments)]
        silent = subprocess.DEVNULL
        return subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=silent, stderr=silent)


@contextlib.contextmanager
def standing_floor(template: World, path: Path, quantity: int) -> Iterator[Floor]:
    """A floor whose keyroom runs; its work order `wo-2` has so many units, and as many serials from BMS-001001 on."""
    keys = {name: answer("station", "--identity", path / name, "keygen")["key"] for name in ENROLLED}
    world = copy_world(template, path / "world").start()

    async def prepare() -> bytes:
        await world.open_order("wo-2", quantity=quantity, first=1001, last=1000 + quantity)
        for name, classes in ENROLLED.items():
            plan = {"station": name, "plant": PLANT, "lines": ["3"], "classes": classes, "key": keys[name]}
            await world.ceremony(f"enrol-{name}", "station-enrol", plan)
        listed = await world.ask(ListCertificates(), "", DocumentsListed)
        return b"".join(pem for name, _, pem in listed.documents if name in ("service-ca", "identity-root"))

    (path / "stations.pem").write_bytes(asyncio.run(prepare()))
    world.stop()
    floor = Floor(path, world, Authority(path / "ca"))
    running = Running(world, "keyroom-1")
    try:
        running.wait_for("keyroom is up")
        with floor.serving():
            for name in ENROLLED:
                floor.kedge("certify", name, station=name)
        yield floor
    finally:
        running.end()
