"""Tokens that fail under a whole keyroom, SoftHSM behind shims: refusals, urgent work, probes, clones, many threads."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ceremonies import commands
from ceremonies.commands import DeviceIssued, HealthShown, IssueDevice, KeysListed, Problem
from ceremonies.door import key_name
from ceremonies.process import list_places, open_strongbox
from ceremonies.settings import ClonePlace, KeyroomSettings
from ceremonies.tending import Tending
from hsm.circuit import FAILURES, PAUSE
from hsm.strongbox import RELOAD_INTERVAL
from hsm.vault import Vault
from hsm.warden import read_place
from tests.hsm.devices import Clock, make_device
from tests.hsm.shim import FOREVER, Shim
from tests.scenarios.test_crashes import check_journal, read_leaves
from tests.world import World, copy_world, make_request

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SECONDS = float(os.environ.get("KEDGE_SOAK_SECONDS", "3"))
SESSIONS = 16


class Plant:
    """A world on two devices: the second has copies of all tokens. Its clock is the test's."""

    def __init__(self, template: World, path: Path) -> None:
        self.world = copy_world(template, path / "world")
        self.first = make_device(self.world.path / "hsm")
        self.second = make_device(path / "clone", self.world.path / "hsm")
        self.clock = Clock()
        self.number = 0

    def start(self, *, clones: bool) -> "Plant":
        """Start the keyroom with or without the second device, its tokens in this process."""
        settings = self.settings(clones=clones)
        places = [read_place(place) for token in settings.tokens for place in list_places(settings.module, token)]

        def open_vault() -> Vault:
            vault = Vault.open(places, sessions=2, clock=self.clock)  # asked from two threads: writer and finisher
            vault.vital = ("kedge-journal",)
            return vault

        self.world.strongbox = open_vault
        self.world.start(settings)
        self.tending = Tending(self.world.room, self.world.room.door.strongbox)
        return self

    def start_wide(self, sessions: int) -> "Plant":
        """Start the keyroom as it runs: its tokens in a warden with so many sessions."""
        settings = msgspec.structs.replace(self.settings(clones=False), sessions=sessions)
        self.world.strongbox = lambda: open_strongbox(settings)
        self.world.start(settings)
        return self

    def settings(self, *, clones: bool) -> KeyroomSettings:
        """The settings of the world, on the shims."""
        settings = self.world.settings()
        hsm = self.world.path / "hsm"
        tokens = tuple(
            msgspec.structs.replace(
                token,
                pin_file=hsm / token.pin_file.name,
                clones=(ClonePlace(module=self.second.path),) if clones else (),
            )
            for token in settings.tokens
        )
        return msgspec.structs.replace(settings, module=self.first.path, tokens=tokens)

    async def issue(self) -> DeviceIssued | Problem:
        """One more certificate."""
        self.number += 1
        answer = await self.world.try_ask(IssueDevice("wo-1", f"BMS-{self.number:06}", make_request()), "station")
        assert isinstance(answer, DeviceIssued | Problem)
        return answer

    async def health(self) -> HealthShown:
        """What /readyz and /metrics show."""
        return await self.world.ask(commands.ShowHealth(), "", HealthShown)


@pytest.fixture
def plant(hsm_template: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    monkeypatch.setenv("SOFTHSM2_CONF", "/nonexistent")
    made = Plant(hsm_template, tmp_path)
    yield made
    made.first.heal()
    made.second.heal()
    made.world.stop()


def outage(shim: Shim) -> None:
    """The device is gone."""
    for function in ("C_SignInit", "C_OpenSession", "C_GetSessionInfo", "C_GenerateRandom", "C_GetSlotList"):
        shim.fail(function, "CKR_DEVICE_REMOVED", times=FOREVER)


@pytest.mark.req("HS-9")
def test_a_device_that_is_away_is_refused_fast_suspends_still_and_comes_back(plant: Plant) -> None:
    asyncio.run(check_outage(plant.start(clones=False)))


async def check_outage(plant: Plant) -> None:
    """Failures, an open circuit, a suspension while it is open, probes, the end of it."""
    world = plant.world
    assert isinstance(await plant.issue(), DeviceIssued)
    main = ("C_SignInit",)
    for function in main:
        plant.first.fail(function, "CKR_FUNCTION_FAILED", times=FOREVER)
    codes = [answer.code for _ in range(FAILURES) if isinstance(answer := await plant.issue(), Problem)]
    assert len(codes) == FAILURES
    intents = len([leaf for leaf in read_leaves(world) if leaf["type"] == "key.sign.intent"])
    calls = plant.first.all_calls()
    refused = await plant.issue()
    assert isinstance(refused, Problem)
    assert (refused.code, refused.details) == ("hsm-circuit-open", {"retry_after": int(PAUSE)})
    assert plant.first.all_calls() == calls, "a token was asked although its circuit is open"
    leaves = read_leaves(world)
    assert len([leaf for leaf in leaves if leaf["type"] == "key.sign.intent"]) == intents, "a serial number was spent"
    assert [leaf["out"]["why"][:16] for leaf in leaves if leaf["type"] == "key.sign.denied"] == ["hsm-circuit-open"]
    await world.ask(commands.SuspendKey("director", "lost"), "officer", KeysListed)
    assert plant.first.all_calls() == calls, "a suspension needs no key"
    await plant.tending.tend()
    health = await plant.health()
    assert not health.ready
    assert any("does not work" in problem for problem in health.problems)
    assert health.metrics["circuits_open"] >= 1
    plant.clock.now += PAUSE
    await plant.tending.tend()
    plant.first.heal()
    plant.clock.now += RELOAD_INTERVAL
    await plant.tending.tend()
    assert (await plant.health()).problems == ()
    assert isinstance(await plant.issue(), DeviceIssued)
    await check_probes(plant)


async def check_probes(plant: Plant) -> None:
    """Probes were made with the probe key, are counted, and stand in one entry."""
    metrics = (await plant.health()).metrics
    assert metrics["probes"] > metrics["probes_failed"] >= 1
    await plant.tending.record_probes()
    await plant.tending.record_probes()
    (leaf,) = [leaf for leaf in read_leaves(plant.world) if leaf["type"] == "probe"]
    assert sum(place["probes"] for place in leaf["op"]["what"]["places"]) == metrics["probes"]
    await check_journal(plant.world)


@pytest.mark.req("HS-9", "HS-2")
def test_a_clone_takes_over_and_gives_back(plant: Plant) -> None:
    asyncio.run(check_failover(plant.start(clones=True)))


async def check_failover(plant: Plant) -> None:
    """No request is refused while one device of two is well; the journal shows nothing odd."""
    for _ in range(2):
        assert isinstance(await plant.issue(), DeviceIssued)
    assert plant.second.calls("C_Sign") == 0
    outage(plant.first)
    for _ in range(2):
        assert isinstance(await plant.issue(), DeviceIssued)
    assert plant.second.calls("C_Sign") > 0
    await plant.tending.tend()
    assert (await plant.health()).ready
    plant.first.heal()
    plant.clock.now += RELOAD_INTERVAL
    await plant.tending.tend()
    before = plant.second.calls("C_Sign")
    assert isinstance(await plant.issue(), DeviceIssued)
    assert plant.second.calls("C_Sign") == before
    await check_journal(plant.world)


@pytest.mark.req("HS-9", "KL-12")
def test_a_start_finds_its_keys_at_the_clone(plant: Plant) -> None:
    plant.start(clones=True).world.stop()
    plant.first.fail("C_Initialize", "CKR_DEVICE_REMOVED", times=FOREVER)
    plant.start(clones=True)
    assert isinstance(asyncio.run(plant.issue()), DeviceIssued)
    assert [report.is_open for report in plant.world.room.door.strongbox.reports] == [True, False] * 3


@pytest.mark.req("HS-4", "T40")
def test_a_warden_with_sessions_signs_a_batch_side_by_side(plant: Plant) -> None:
    """With a token that needs 200 ms for a signature, as over a network, a batch takes little longer than one."""
    asyncio.run(check_wide(plant.start_wide(8)))


async def check_wide(plant: Plant) -> None:
    """Ten orders at once are all sealed, and the journal verifies."""
    await plant.issue()
    plant.first.delay("C_Sign", 200, times=FOREVER)
    started = time.monotonic()
    answers = await asyncio.gather(*(plant.issue() for _ in range(10)))
    seconds = time.monotonic() - started
    assert all(isinstance(answer, DeviceIssued) for answer in answers)
    assert seconds < 2.0, "ten signatures of 200 ms followed each other"
    plant.first.heal()
    leaves = await check_journal(plant.world)
    assert len([leaf for leaf in leaves if leaf["type"] == "key.sign.outcome"]) >= 11


@pytest.mark.req("HS-4", "T40")
def test_sixteen_sessions_sign_without_an_error(plant: Plant) -> None:
    """Three seconds here, minutes in `make soak`; sessions and the module are lost meanwhile, one in each series."""
    plant.start_wide(SESSIONS)
    box, keyring = plant.world.room.door.strongbox, plant.world.room.door.keyring
    names = [key_name(key) for key in keyring if key.role in ("device-ca", "counter", "journal", "oem-root")]
    start = time.monotonic()
    turn, reload_at = 0, start
    while (now := time.monotonic()) < start + SECONDS:
        lost = "CKR_SESSION_HANDLE_INVALID"
        if now >= reload_at:
            lost, reload_at = "CKR_DEVICE_ERROR", now + RELOAD_INTERVAL + 1
        plant.first.fail("C_SignInit", lost, skip=turn % 100)
        items = [(names[number % len(names)], b"%d %d" % (turn, number)) for number in range(8 * SESSIONS)]
        signed = box.start(items).wait()
        assert [item.error for item in signed if item.error] == []
        assert len({item.raw for item in signed}) == len(items)
        turn += 1
    assert turn > SECONDS
    assert plant.first.calls("C_Initialize") > 1
