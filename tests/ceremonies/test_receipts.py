"""Receipts: who may send one, which challenge it answers, that it follows the last; what an alarm leaves behind."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ceremonies import commands
from ceremonies.receipts import VALID_FOR_US, find_canary, newest_receipts
from ceremonies.surroundings import Surroundings
from hsm.errors import KeyNotFound
from pki.log.leaves import MAX_LEAF
from pki.trust.challenges import verify_challenge
from pki.trust.links import verify_genesis
from pki.trust.receipts import CounterReading, ReceiptClaims, compute_ueid
from pki.trust.sets import Domain
from tests.ceremonies.field import (
    CAMPAIGN,
    Controller,
    list_sets,
    open_challenge,
    problem,
    read_leaves,
    rotation_plan,
    sign_release,
    spki_of,
    submit,
)
from tests.ceremonies.rotated import Fleet, report_all
from tests.ceremonies.templates import Keys, Templates, on_both_keys
from tests.engines import Engine
from tests.softbox import Softbox
from tests.world import World, audit_world

replace = msgspec.structs.replace


class Heard(msgspec.Struct):
    """A started world with two controllers that run 2.3.0 and were heard once."""

    world: World
    controllers: list[Controller]

    @property
    def one(self) -> Controller:
        """The first controller."""
        return self.controllers[0]


async def hear(fleet: Fleet) -> None:
    """Every controller reports for the first time."""
    assert await report_all(fleet) == ("", "")


@pytest.fixture
def heard(templates: Templates, engine: Engine, keys: Keys, tmp_path: Path) -> Iterator[Heard]:
    fleet = templates.fleet(hear, 2, engine, keys).copy(tmp_path / "world")
    yield Heard(fleet.world, fleet.controllers)
    fleet.world.stop()


def wind(world: World, microseconds: int) -> None:
    """Let time pass in the keyroom."""
    around: Surroundings = world.room.surroundings
    world.room.surroundings = replace(around, now_us=lambda: around.now_us() + microseconds)


def judge(heard: Heard, change: Callable[[ReceiptClaims], ReceiptClaims], key: Any = None) -> str:
    """The verdict on the first controller's next receipt, changed before it is signed."""

    async def play() -> str:
        claims = change(await heard.one.claim(heard.world))
        return (await submit(heard.world, heard.one.sign(claims, key)))[0]

    return asyncio.run(play())


@on_both_keys
def test_a_challenge_is_fresh_and_by_the_director(heard: Heard) -> None:
    async def play() -> tuple[bytes, bytes, bytes, commands.AnyResult | commands.Problem]:
        first, second = await open_challenge(heard.world), await open_challenge(heard.world)
        asked = commands.OpenChallenge("challenge-again", CAMPAIGN)
        again = [(await heard.world.ask(asked, "gateway", commands.DocumentRead)).document for _ in range(2)]
        assert again[0] == again[1]
        other = await heard.world.try_ask(replace(asked, campaign=b"x" * 16), "gateway")
        return first, second, (await list_sets(heard.world))[0], other

    first, second, genesis, other = asyncio.run(play())
    challenges = [verify_challenge(verify_genesis(genesis), document) for document in (first, second)]
    assert challenges[0].nonce != challenges[1].nonce
    assert [challenge.canary for challenge in challenges] == [None, None]  # no set was left behind yet
    assert problem(other).code == "request-mismatch"


def test_no_gateway_takes_the_name_of_a_release_or_a_ceremony(heard: Heard) -> None:
    async def play() -> str:
        for name in ("release-2.4.0:image", "rotate:set-0-1"):
            await heard.world.ask(commands.OpenChallenge(name, CAMPAIGN), "gateway", commands.DocumentRead)
        await heard.world.ceremony("rotate", "trust-set", rotation_plan())
        return (await sign_release(heard.world, "2.4.0", 2)).version

    assert asyncio.run(play()) == "2.4.0"


@pytest.mark.req("T35")
@on_both_keys
def test_a_receipt_that_follows_is_taken(heard: Heard) -> None:
    assert judge(heard, lambda claims: claims) == ""
    facts = newest_receipts(heard.world.room.store)[heard.one.device.hardware.identity.ueid.hex()]
    assert (facts.set_index, facts.state, facts.alarm, facts.canary) == (0, 0, "", "")
    assert [(slot.security_version, slot.confirmed, len(slot.keys)) for slot in facts.slots] == [(2, True, 1)]


@pytest.mark.req("T35")
def test_devices_that_are_not_who_they_say(heard: Heard) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    assert judge(heard, lambda claims: claims, heard.controllers[1].key) == "cose-invalid"
    assert judge(heard, lambda claims: replace(claims, ueid=compute_ueid(spki_of(stranger))), stranger) == (
        "device-unknown"
    )


def test_a_receipt_names_a_device_that_did_not_sign_it(heard: Heard) -> None:
    async def play() -> tuple[str, ...]:
        claims = await heard.one.claim(heard.world)
        receipt = heard.one.sign(claims)
        forged = receipt[:-1] + bytes([receipt[-1] ^ 1])
        return await submit(heard.world, forged, b"\x00", b"", receipt)

    verdicts = asyncio.run(play())
    assert verdicts[0] == "signature-invalid"
    assert verdicts[1] and verdicts[2]
    assert verdicts[3] == ""  # what was forged spent no nonce


def test_nonces_count_once_and_not_for_long(heard: Heard) -> None:
    async def play() -> tuple[str, ...]:
        first = await heard.one.report(heard.world)
        other = heard.controllers[1]
        challenge = await open_challenge(heard.world)
        shared = [c.sign(c.device.receipt(challenge)) for c in (heard.one, other)]
        verdicts = await submit(heard.world, first, first, *shared)
        invented = replace(await other.claim(heard.world), nonce=b"n" * 32)
        verdicts += await submit(heard.world, first, other.sign(invented))
        old = await other.report(heard.world)
        wind(heard.world, VALID_FOR_US + 1_000_000)
        return verdicts + await submit(heard.world, old)

    stale = "nonce-not-fresh"
    assert asyncio.run(play()) == ("", stale, "", stale, stale, stale, stale)


def test_a_receipt_names_the_campaign_of_its_challenge(heard: Heard) -> None:
    def change(claims: ReceiptClaims) -> ReceiptClaims:
        return replace(claims, campaign=replace(claims.campaign, campaign=b"another campaign"))

    assert judge(heard, change) == "campaign-differs"


def set_index(claims: ReceiptClaims, **changes: Any) -> ReceiptClaims:
    """Claims with another current set."""
    current = replace(claims.trust.current, **changes)
    return replace(claims, trust=replace(claims.trust, current=current))


ALARMS: dict[str, Callable[[ReceiptClaims], ReceiptClaims]] = {
    "sequence-rollback": lambda claims: replace(claims, campaign=replace(claims.campaign, sequence=1)),
    "chain-broken": lambda claims: replace(claims, campaign=replace(claims.campaign, previous=b"p" * 32)),
    "device-rollback": lambda claims: replace(claims, bootcount=0),
    "floor-rollback": lambda claims: replace(claims, counters={Domain.TRUST: CounterReading(0, 0, 9)}),
    "set-unknown": lambda claims: set_index(claims, hash=b"h" * 32),
}


@pytest.mark.req("T35")
@pytest.mark.parametrize("rule", sorted(ALARMS))
def test_a_true_receipt_that_does_not_follow_is_an_alarm_until_one_does(heard: Heard, rule: str) -> None:
    def facts_now() -> str:
        return newest_receipts(heard.world.room.store)[heard.one.device.hardware.identity.ueid.hex()].alarm

    if rule == "floor-rollback":  # the floor was 4 once
        raised = {Domain.TRUST: CounterReading(0, 0, 9), Domain.APP: CounterReading(4, 32, 9)}
        assert judge(heard, lambda claims: replace(claims, counters=raised)) == ""
        skip_receipt(heard.one)
    before = heard.one.device.memory
    assert judge(heard, ALARMS[rule]) == rule
    assert facts_now() == rule
    heard.one.device.hardware.memory = before
    if rule == "floor-rollback":
        assert judge(heard, lambda claims: replace(claims, counters=raised)) == ""
    else:
        assert judge(heard, lambda claims: claims) == ""
    assert facts_now() == ""


def skip_receipt(controller: Controller) -> None:
    """A number of the sequence was lost with a receipt."""
    controller.device.hardware.write(receipts=controller.device.memory.receipts + 1)


def test_an_alarm_and_the_receipt_before_it_in_one_batch(heard: Heard) -> None:
    async def play() -> tuple[str, ...]:
        clone = heard.one.fork()
        good = await heard.one.report(heard.world)
        return await submit(heard.world, good, await clone.report(heard.world))

    assert asyncio.run(play()) == ("", "sequence-rollback")
    assert {facts.alarm for facts in newest_receipts(heard.world.room.store).values()} == {"sequence-rollback", ""}


def test_a_lost_receipt_breaks_no_chain(heard: Heard) -> None:
    async def play() -> tuple[str, ...]:
        await heard.one.report(heard.world)
        return await submit(heard.world, await heard.one.report(heard.world))

    assert asyncio.run(play()) == ("",)


@on_both_keys
def test_a_batch_is_one_entry_with_verdicts_in_order(heard: Heard) -> None:
    async def play() -> tuple[int, commands.ReceiptsTaken]:
        size = heard.world.room.ledger.journal.size
        good = [await controller.report(heard.world) for controller in heard.controllers]
        size = heard.world.room.ledger.journal.size
        command = commands.SubmitReceipts((good[0], b"bad", good[1]))
        return size, await heard.world.ask(command, "gateway", commands.ReceiptsTaken)

    size, taken = asyncio.run(play())
    assert [bool(verdict) for verdict in taken.verdicts] == [False, True, False]
    leaves = read_leaves(heard.world)
    assert (len(leaves), taken.index) == (size + 1, size)
    assert leaves[-1].type == "receipt.batch"
    what = (leaves[-1].op and leaves[-1].op.what) or {}
    assert len(what["accepted"]) == 2
    assert [why for _, why in what["refused"]] == [taken.verdicts[1]]
    assert asyncio.run(audit_world(heard.world)).verdict == "authenticated"


def test_the_largest_batch_is_an_entry_that_fits(heard: Heard) -> None:
    receipts = tuple(bytes([0, number]) for number in range(256))
    verdicts = asyncio.run(submit(heard.world, *receipts))
    assert len(verdicts) == 256 and all(verdicts)
    placed, _ = heard.world.room.ledger.read_entry(heard.world.room.ledger.journal.size - 1)
    longest = 256 * len(json.dumps(["0" * 64, "x" * 64]))
    assert len(placed.leaf) + longest < MAX_LEAF
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(
            msgspec.msgpack.encode(commands.SubmitReceipts((*receipts, b"x"))), type=commands.SubmitReceipts
        )


@on_both_keys
def test_the_canary_is_the_last_manifest_under_an_older_set(heard: Heard) -> None:
    store = heard.world.room.store
    assert find_canary(store, 0) is None
    canary = find_canary(store, 1)
    assert canary is not None and canary["version"] == "2.3.0"


def test_two_equal_requests_of_which_the_first_fails(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second has drawn other bytes by then: those of the first are sealed."""
    sign, entered, go = Softbox.sign, threading.Event(), threading.Event()

    def away(box: Softbox, *arguments: Any) -> bytes:
        if entered.is_set():
            return sign(box, *arguments)
        entered.set()
        assert go.wait(30)
        raise KeyNotFound("the token is away")

    async def play() -> tuple[Any, Any]:
        command = commands.OpenChallenge("challenge-twice", CAMPAIGN)
        first = asyncio.create_task(heard.world.try_ask(command, "gateway"))
        await asyncio.to_thread(entered.wait)
        second = asyncio.create_task(heard.world.try_ask(command, "gateway"))
        await asyncio.sleep(0.2)
        go.set()
        return await first, await second

    monkeypatch.setattr(Softbox, "sign", away)
    failed, sealed = asyncio.run(play())
    assert problem(failed).code == KeyNotFound.code
    assert isinstance(sealed, commands.DocumentRead)


def test_a_challenge_that_a_crash_left_open_is_sealed_as_it_was(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when another set was published meanwhile."""

    def away(*_: object) -> bytes:
        raise KeyNotFound("the token is away")

    async def play() -> tuple[bytes, bytes]:
        command = commands.OpenChallenge("challenge-open", CAMPAIGN)
        genesis = (await list_sets(heard.world))[0]
        with monkeypatch.context() as patch:
            patch.setattr(Softbox, "sign", away)
            assert problem(await heard.world.try_ask(command, "gateway")).code == KeyNotFound.code
        await heard.world.ceremony("rotate", "trust-set", rotation_plan())
        return genesis, (await heard.world.ask(command, "gateway", commands.DocumentRead)).document

    genesis, document = asyncio.run(play())
    assert verify_challenge(verify_genesis(genesis), document).canary is None
