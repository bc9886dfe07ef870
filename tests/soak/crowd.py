"""Load: stations that ask for one device after the other, and officers that hold one ceremony after the other."""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from ceremonies.client import KeyroomClient, KeyroomDown, Refused
from ceremonies.commands import (
    AnyCommand,
    AnyResult,
    CeremonyShown,
    DeviceIssued,
    ExecuteStep,
    IssueDevice,
    KeysListed,
    Problem,
    ShowCeremony,
    SuspendKey,
)  # fmt: skip
from tests.scenarios.keyrooms import AWAY
from tests.world import RefusedError, World, make_request, plan_set

ORDER = "storm"
MOST = 200_000
# While the CA is suspended its line cannot be loaded; what a hung or ended process had, may be sent again.
PATIENT = (
    *AWAY, "key-not-active", "authority-unavailable", "reader-ended", "hsm-token-unavailable", "hsm-circuit-open",
)  # fmt: skip
PATIENCE_S = 240.0


class Stopped(Exception):  # it is no error
    """The load was told to end."""


class Abroad(World):
    """The people of a world, who talk to its keyroom over the socket."""

    def __init__(self, world: World, client: KeyroomClient) -> None:
        self.__dict__.update(world.__dict__)
        self._client = client
        self._tokens: dict[str, tuple[float, str]] = {}

    def role_token(self, role: str) -> str:
        """A token of the last minute: what signs tokens takes no part in the load."""
        made, token = self._tokens.get(role, (-60.0, ""))
        if time.monotonic() > made + 60:
            token = super().role_token(role)
            self._tokens[role] = time.monotonic(), token
        return token

    async def try_ask(self, command: AnyCommand, role: str = "", token: str = "") -> AnyResult | Problem:
        """Ask over the socket. Raises KeyroomDown."""
        given = token or ("" if role in ("", "local") else self.role_token(role))
        try:
            return await self._client.ask(command, token=given, source="192.0.2.7")
        except Refused as error:
            return error.problem


class Crowd:
    """`callers` stations and, where `officers`, one circle of officers, in a thread of their own until `stop`.

    issued: the first answer for each serial. times: when answers came. waits: why somebody asked again.
    """

    def __init__(self, world: World, callers: int, *, officers: bool = True, patient: tuple[str, ...] = ()) -> None:
        self._world, self._callers, self._officers = world, callers, officers
        self._patient = (*PATIENT, *patient)
        self._last = 0
        self._stopping = False
        self._requests: dict[str, bytes] = {}
        self._random = random.Random(callers)
        self.issued: dict[str, bytes] = {}
        self.repeated = 0
        self.held: list[str] = []
        self.suspend_s: list[float] = []
        self.times: list[float] = []
        self.waits: Counter[str] = Counter()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            asyncio.run(self._call())
        except BaseException as error:  # noqa: BLE001  # `stop` raises it
            self._failure = error

    async def _call(self) -> None:
        clients = [KeyroomClient(self._world.settings().socket, timeout=20) for _ in range(1 + self._callers // 8)]
        people = [Abroad(self._world, client) for client in clients]
        work = [self._until_stopped(self._issue(people[at % len(people)])) for at in range(self._callers)]
        if self._officers:
            work.append(self._until_stopped(self._govern(people[0])))
        try:
            async with asyncio.TaskGroup() as group:  # the first that fails ends all
                for item in work:
                    group.create_task(item)
        finally:
            for client in clients:
                await client.close()

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Stopped:
            return

    async def insist(self, ask: Callable[[], Awaitable[Any]], done: tuple[str, ...] = ()) -> Any:
        """Ask until there is an answer; None for a refusal that says it is done already."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await ask()
            except KeyroomDown as error:
                code = error.code
            except RefusedError as error:
                code = error.code
                if code in done:
                    return None
                if code not in self._patient:
                    raise
            self.waits[code] += 1
            if self._stopping:
                raise Stopped
            assert time.monotonic() < until, f"nobody answers: {code}"
            await asyncio.sleep(self._random.uniform(0.1, 0.3))  # a crowd that calls without a pause slows the start

    async def _issue(self, world: World) -> None:
        """New devices, and now and then one that was served before, perhaps by a keyroom that was killed since."""
        while not self._stopping:
            self._last += 1
            serial = f"BMS-{self._last:08}"
            self._requests[serial] = make_request()
            self.issued[serial] = await self._certify(world, serial)
            self.times.append(time.monotonic())
            again = self._random.choice((serial, f"BMS-{self._random.randint(1, self._last):08}"))
            if again in self.issued:
                assert await self._certify(world, again) == self.issued[again], f"{again}: other bytes"
                self.repeated += 1

    async def _certify(self, world: World, serial: str) -> bytes:
        command = IssueDevice(ORDER, serial, self._requests[serial])
        answer: DeviceIssued = await self.insist(lambda: world.ask(command, "station", DeviceIssued))
        return answer.certificate

    async def _govern(self, world: World) -> None:
        """Rotate the roots, destroy a key, suspend the issuing key and have it resumed; again and again."""
        turn = 0
        while not self._stopping:
            turn += 1
            roots = [f"oem-root-{number}" for number in range(turn, turn + 4)]
            names = {roots[3]: "oem-root", f"spare-{turn}": "director"}
            keys = [
                {"label": name, "role": role, "algorithm": "p256", "token": "kedge-main"}
                for name, role in names.items()
            ]
            wanted = plan_set(roots=(turn + 1, turn + 2, turn + 3))
            await self._hold(world, f"rotate-{turn}", "trust-set",
                             {"keys": keys, "trust_set": wanted, "signers": roots[:2]})  # fmt: skip
            await self._hold(world, f"drop-{turn}", "destroy", {"labels": [f"spare-{turn}"], "reason": "storm"})
            begun = time.monotonic()
            suspend = SuspendKey("device-ca", "storm")
            await self.insist(lambda: world.ask(suspend, "officer", KeysListed), ("key-transition-refused",))  # noqa: B023
            self.suspend_s.append(time.monotonic() - begun)
            await self._hold(world, f"resume-{turn}", "resume", {"labels": ["device-ca"], "reason": "storm"})

    async def _hold(self, world: World, name: str, action: str, plan: Mapping[str, Any]) -> None:
        """A whole ceremony, whoever is killed on the way."""
        await self.insist(lambda: world.propose(name, action, plan), ("ceremony-exists",))
        while True:
            show = ShowCeremony(name)
            shown: CeremonyShown = await self.insist(lambda: world.ask(show, "officer", CeremonyShown))  # noqa: B023
            step = next(
                (item.step for item in sorted(shown.steps, key=lambda s: s.step, reverse=True) if not item.done), None
            )
            if step is None:
                self.held.append(name)
                return
            for officer in ("bob", "carol"):
                done = ("already-decided", "step-done", "ceremony-over")
                await self.insist(lambda: world.approve(name, step, officer), done)  # noqa: B023
            execute = ExecuteStep(name, step)
            await self.insist(lambda: world.ask(execute, "officer", CeremonyShown), ("step-done", "ceremony-over"))  # noqa: B023

    def wait_more(self, count: int, seconds: float = PATIENCE_S) -> None:
        """Wait until that many certificates more have come."""
        until, wanted = time.monotonic() + seconds, len(self.times) + count
        while len(self.times) < wanted:
            if not self._thread.is_alive():
                self.stop()
                raise AssertionError("the load has ended")
            assert time.monotonic() < until, f"{wanted - len(self.times)} certificates lack: {self.waits}"
            time.sleep(0.01)

    def gap_after(self, moment: float) -> float:
        """Seconds from a moment to the next certificate."""
        return min(came for came in self.times if came > moment) - moment

    def stop(self) -> None:
        """End; raises what went wrong."""
        self._stopping = True
        self._thread.join(2 * PATIENCE_S)
        if self._failure is not None:
            raise self._failure
