"""Owner enrolment: one LDevID that counts for each installed device, by its IDevID."""

import asyncio
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from ceremonies.commands import (
    AnyResult,
    CertificateShown,
    Install,
    IssueDevice,
    Move,
    Problem,
    Replace,
    Return,
    RevokeCertificate,
    Ship,
)
from ceremonies.journal import JournalForked
from ceremonies.ldevid_tables import LdevidRow
from ceremonies.orders import Order, Sealed
from ceremonies.revocation_tables import RevocationRow
from ceremonies.room import Room
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.fielded import say_all
from tests.ceremonies.lines import Unit, check_books, code_of, make_units, permit
from tests.ceremonies.owning import (
    OWNED,
    Owner,
    decommission,
    der_of,
    make_owned,
    make_site_ca,
    operator,
    place,
    send_back,
)
from tests.ceremonies.revoking import open_copy
from tests.ceremonies.rotating import succeed
from tests.ceremonies.test_rework import failing, number_of
from tests.engines import tamper
from tests.world import SITE, World, audit_world, make_request


def revoked(world: World) -> dict[str, str]:
    """Numbers and reasons of what is revoked."""
    return {row["number"]: row["reason"] for row in world.room.store.list(RevocationRow, "seq")}


@pytest.mark.req("CA-1", "CA-11")
def test_an_installed_device_gets_an_ldevid_of_its_site(owner: Owner) -> None:
    async def run() -> None:
        csr = make_request(owner.key)
        first = await owner.enrol(csr)
        again = await owner.enrol(csr)
        assert (first.certificate, first.replayed, again.replayed) == (again.certificate, False, True)
        assert (await owner.enrol(make_request(owner.key))).certificate == first.certificate
        found = x509.load_pem_x509_certificate(first.certificate)
        names = [str(item.value) for item in found.subject]
        assert names == ["Acme Storage", OWNED, "bms-stm32h7", owner.unit.serial]
        purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert set(purposes) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
        assert found.not_valid_after_utc - found.not_valid_before_utc == timedelta(days=365)
        chain = x509.load_pem_x509_certificates(first.chain)
        found.verify_directly_issued_by(chain[0])
        chain[0].verify_directly_issued_by(chain[1])
        assert first.ueid == owner.unit.held.ueid
        check_books(owner.world)
        assert (await audit_world(owner.world)).verdict == "authenticated"

    asyncio.run(run())


@pytest.mark.engines
@pytest.mark.req("CA-14")
def test_another_key_replaces_the_ldevid_in_one_commit(owner: Owner) -> None:
    async def run() -> None:
        first = await owner.enrol()
        before = owner.world.room.ledger.journal.size
        key = ec.generate_private_key(ec.SECP256R1())
        second = await owner.enrol(make_request(key))
        leaves = read_leaves(owner.world, before)
        assert [leaf["type"] for leaf in leaves] == ["key.sign.intent", "key.sign.outcome", "certificate.revoke"]
        assert revoked(owner.world) == {number_of(first): "superseded"}
        (row,) = owner.world.room.store.list(LdevidRow, "serial")
        assert row["number"] == number_of(second)
        assert code_of(await owner.ask(make_request(owner.key))) == "key-used"  # it was replaced
        assert (await owner.enrol(make_request(key))).certificate == second.certificate
        check_books(owner.world)

    asyncio.run(run())


@pytest.mark.req("CA-11", "CA-14")
def test_it_renews_the_same_key_when_a_third_of_its_life_is_left(owner: Owner) -> None:
    async def run() -> None:
        csr = make_request(owner.key)
        first = await owner.enrol(csr)
        owner.watch.go_on(240 * 86_400)
        assert (await owner.enrol(csr, der_of(first))).certificate == first.certificate
        owner.watch.go_on(5 * 86_400)
        second = await owner.enrol(csr, der_of(first))
        assert second.certificate != first.certificate
        assert revoked(owner.world) == {number_of(first): "superseded"}
        assert code_of(await owner.ask(csr, der_of(first))) == "device-revoked"
        assert (await owner.enrol(csr, der_of(second))).certificate == second.certificate
        owner.watch.go_on(366 * 86_400)
        assert code_of(await owner.ask(csr, der_of(second))) == "client-certificate-expired"
        assert (await owner.enrol(csr)).certificate != second.certificate

    asyncio.run(run())


@pytest.mark.req("CA-11")
def test_who_is_installed_nowhere_waits(owner: Owner) -> None:
    async def run() -> None:
        waiting = Owner(owner.world, (await make_units(owner.world, range(2, 3)))[0], owner.watch)
        await waiting.unit.confirm(owner.world)
        csr = make_request(waiting.key)
        for shipped in (False, True):
            if shipped:
                await say_all(owner.world, Ship(waiting.unit.serial, OWNED), token=operator(owner.world))
            before = owner.world.room.ledger.journal.size
            answer = await waiting.ask(csr)
            assert code_of(answer) == "enrolment-pending"
            assert getattr(answer, "details", {}) == {"retry_after": 600}
            told = read_leaves(owner.world, before)
            assert len(told) == (0 if shipped else 1), "the journal is told once a day, not every ten minutes"
            for entry in told:
                assert (entry["type"], entry["actor"]["role"]) == ("device.pending", "device")
                assert entry["op"]["what"]["serial"] == waiting.unit.serial
        check_books(owner.world)
        await say_all(owner.world, Install(waiting.unit.serial, "north-power", OWNED), token=operator(owner.world))
        assert (await waiting.enrol(csr)).serial == waiting.unit.serial

    asyncio.run(run())


@pytest.mark.req("AZ-4")
def test_a_device_asks_for_itself_at_its_own_site(owner: Owner) -> None:
    async def run() -> None:
        world = owner.world
        other = Owner(world, await make_owned(world, 2, SITE), owner.watch)
        for answer, code in (
            (await owner.ask(serial=other.unit.serial), "binding-mismatch"),
            (await other.ask(), "site-mismatch"),
            (await owner.ask(authority="device-ca"), "authority-unknown"),
            (await owner.ask(shown=b"0\x00"), "client-certificate-unknown"),
        ):
            assert code_of(answer) == code
        await make_site_ca(world, "hornsea-ca", SITE)
        refused = await other.ask()
        assert getattr(refused, "details", {}) == {"authority": "hornsea-ca"}
        issued = await other.enrol(authority="hornsea-ca")
        assert code_of(await owner.ask(shown=der_of(issued), authority="hornsea-ca")) == "binding-mismatch"
        # An LDevID speaks to the CA that issued it, and to no other.
        assert code_of(await other.ask(shown=der_of(issued), authority="site-ca")) == "binding-mismatch"
        assert code_of(await other.ask(shown=der_of(issued), authority="hornsea-ca")) == "replayed"

    asyncio.run(run())


@pytest.mark.req("CA-14")
def test_a_unit_that_was_not_built_is_no_device(owner: Owner) -> None:
    async def run() -> None:
        (unit,) = await make_units(owner.world, range(2, 3))
        await place(owner.world, unit.serial)
        assert code_of(await Owner(owner.world, unit, owner.watch).ask()) == "unit-unconfirmed"
        world = owner.world
        command = RevokeCertificate(owner.unit.serial, reason="keyCompromise", why="stolen")
        issued = await owner.enrol()
        await world.ask(command, "officer", CertificateShown)
        for shown in (b"", der_of(issued)):  # its LDevID ends with it
            before = world.room.ledger.journal.size
            assert code_of(await owner.ask(shown=shown)) == "device-revoked"
            assert read_leaves(world, before) == []  # gathered: whoever has the stolen key fills no journal

    asyncio.run(run())


@pytest.mark.req("CA-2", "T3")
def test_keys_are_used_once(owner: Owner) -> None:
    async def run() -> None:
        world = owner.world
        other = Owner(world, await make_owned(world, 2), owner.watch)
        issued = await owner.enrol()
        assert code_of(await owner.ask(make_request(owner.unit.key))) == "key-used"  # of its IDevID
        for key in (owner.unit.key, owner.key):  # of another device
            assert code_of(await other.ask(make_request(key))) == "key-known"
        assert world.room.counters["cloned_keys"] == 2
        command = RevokeCertificate("", number_of(issued), reason="keyCompromise", why="stolen")
        await world.ask(command, "officer", CertificateShown)
        assert code_of(await owner.ask()) == "certificate-withdrawn"
        third = await owner.enrol(make_request())
        assert revoked(world) == {number_of(issued): "keyCompromise"}
        assert number_of(third) != number_of(issued)

    asyncio.run(run())


@pytest.mark.req("CA-14")
@pytest.mark.parametrize("act", ["move", "return", "replace", "decommission", "both"])
def test_who_leaves_a_site_loses_its_ldevid_at_once(owner: Owner, act: str) -> None:
    async def run() -> None:
        world, serial = owner.world, owner.unit.serial
        issued = await owner.enrol()
        await say_all(world, Move(serial, OWNED, "another rack"), token=operator(world))
        assert revoked(world) == {}
        before = world.room.ledger.journal.size
        if act == "move":
            await say_all(world, Move(serial, SITE), token=operator(world))
        elif act == "return":
            await send_back(world, serial)
        elif act == "both":  # one request, two reasons
            await say_all(world, Move(serial, SITE), Return(serial, "fan"), token=operator(world))
        elif act == "replace":
            (other,) = await make_units(world, range(2, 3))
            await say_all(world, Ship(other.serial), Replace(serial, other.serial), token=operator(world))
        else:
            await decommission(world, serial)
        moved = act in ("move", "both")
        assert revoked(world) == {number_of(issued): "affiliationChanged" if moved else "cessationOfOperation"}
        assert read_leaves(world, before)[-1]["type"] == "certificate.revoke"
        assert read_leaves(world, before)[-1]["op"]["what"]["serial"] == serial
        after = {"move": "site-mismatch", "return": "enrolment-pending", "both": "enrolment-pending"}
        assert code_of(await owner.ask()) == after.get(act, "device-out-of-service")
        check_books(world)

    asyncio.run(run())


@pytest.mark.req("CA-14", "T27")
def test_a_crash_between_intent_and_outcome(owner: Owner) -> None:
    """The same key gets the bytes that were begun; a device that lost that key meanwhile is not locked out."""

    async def run() -> None:
        world, csr = owner.world, make_request(owner.key)
        with failing(world, "site-ca"):
            assert code_of(await owner.ask(csr)) == "hsm-key-not-found"
        first = await owner.enrol(csr)
        with failing(world, "site-ca"):
            assert code_of(await owner.ask(make_request())) == "hsm-key-not-found"
        second = await owner.enrol(make_request())
        assert revoked(world) == {number_of(first): "superseded"}
        assert [row["number"] for row in world.room.store.list(LdevidRow, "serial")] == [number_of(second)]
        check_books(world)
        assert (await audit_world(world)).verdict == "authenticated"

    asyncio.run(run())


@pytest.mark.engines
@pytest.mark.req("CA-14")
def test_two_requests_at_once_leave_one_ldevid(owner: Owner) -> None:
    async def run() -> None:
        csrs = [make_request() for _ in range(5)]
        answers = await asyncio.gather(*(owner.enrol(csr) for csr in csrs))
        numbers = {number_of(answer) for answer in answers}
        (row,) = owner.world.room.store.list(LdevidRow, "serial")
        assert numbers - {row["number"]} == set(revoked(owner.world))
        assert len(numbers) == 5
        await owner.enrol(make_request())
        limited = await owner.ask(make_request())
        assert code_of(limited) == "device-too-fast"
        assert getattr(limited, "details", {})["retry_after"] > 86_000

    asyncio.run(run())


@pytest.mark.req("T5")
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ldevid",
        "UPDATE ldevid SET number = '00'",
        "UPDATE register SET state = 'installed', site = 'graz-1'",
    ],
)
def test_rows_that_somebody_changed_give_no_second_ldevid(owner: Owner, statement: str) -> None:
    async def run() -> None:
        await owner.enrol()
        if "register" in statement:
            await say_all(owner.world, Move(owner.unit.serial, SITE), token=operator(owner.world))
        tamper(owner.world.room.store, statement)
        assert code_of(await owner.ask(make_request())) == "journal-forked"
        with pytest.raises(JournalForked):
            check_books(owner.world)

    asyncio.run(run())


@pytest.mark.req("CA-14")
@pytest.mark.parametrize(("happens", "code"), [("move", "site-mismatch"), ("revoke", "device-revoked")])
def test_what_happens_while_a_request_is_under_way_holds_the_ldevid_back(
    owner: Owner, monkeypatch: pytest.MonkeyPatch, happens: str, code: str
) -> None:
    async def run() -> None:
        world, serial = owner.world, owner.unit.serial

        async def seal(room: Room, order: Order) -> Sealed:
            if happens == "move":
                await say_all(world, Move(serial, SITE), token=operator(world))
            else:
                command = RevokeCertificate(serial, reason="keyCompromise", why="stolen")
                await world.ask(command, "officer", CertificateShown)
            return await sealed(room, order)

        sealed = Room.seal
        monkeypatch.setattr(Room, "seal", seal)
        before = world.room.ledger.journal.size
        assert code_of(await owner.ask()) == code
        (outcome,) = (leaf for leaf in read_leaves(world, before) if leaf["type"] == "key.sign.outcome")
        assert outcome["out"]["status"] == "fail"
        assert world.room.store.list(LdevidRow, "serial") == []
        check_books(world)

    asyncio.run(run())


@pytest.mark.req("CA-11", "CA-14")
def test_every_label_stands_for_all_generations_of_the_ca_of_a_site(owner: Owner) -> None:
    """A device renews where it always asked, by an LDevID of whatever generation."""
    world, label = owner.world, "site-ca-2"
    first = asyncio.run(owner.enrol())
    succeed(world, label, "site-ca")

    async def run() -> None:
        assert (await owner.enrol(b"", der_of(first), authority=label)).certificate == first.certificate
        owner.watch.go_on(250 * 86_400)
        second = await owner.enrol(b"", der_of(first))
        third = await owner.enrol(make_request(), der_of(second))
        await make_site_ca(world, "other-ca")
        assert code_of(await owner.ask(b"", der_of(third), authority="other-ca")) == "binding-mismatch"
        check_books(world)

    asyncio.run(run())


@pytest.mark.req("CA-14", "T27")
def test_a_key_that_got_no_certificate_gets_one_by_the_next_generation(owner: Owner) -> None:
    """A crash, and then a switch: the device sends the same request as before."""
    world, csr = owner.world, make_request(owner.key)
    with failing(world, "site-ca"):
        assert code_of(asyncio.run(owner.ask(csr))) == "hsm-key-not-found"
    succeed(world, "site-ca-2", "site-ca")

    async def run() -> None:
        with failing(world, "site-ca-2"):
            assert code_of(await owner.ask(csr)) == "hsm-key-not-found"
        first = await owner.enrol(csr)
        second = await owner.enrol(make_request())
        assert code_of(await owner.ask(csr)) == "key-used"
        assert revoked(world) == {number_of(first): "superseded"}
        thief = Owner(world, await make_owned(world, 2), owner.watch)
        assert code_of(await thief.ask(csr)) == "key-known"
        assert [row["number"] for row in world.room.store.list(LdevidRow, "serial")] == [number_of(second)]
        check_books(world)

    asyncio.run(run())


@pytest.mark.req("CA-14")
def test_what_gave_no_certificate_uses_up_no_allowance(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that fails for an hour does not lock a device out for a day."""

    async def refuse(room: Room, order: Order) -> Sealed:
        raise JournalForked("nothing was begun")

    async def run() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Room, "seal", refuse)
            for _ in range(7):
                assert code_of(await owner.ask(make_request())) == "journal-forked"
        with failing(owner.world, "site-ca"):
            for _ in range(7):
                assert code_of(await owner.ask()) == "hsm-key-not-found"
        await owner.enrol()
        for _ in range(5):
            await owner.enrol(make_request())
        assert code_of(await owner.ask(make_request())) == "device-too-fast"

    asyncio.run(run())


@pytest.mark.req("CA-11", "CA-14")
@pytest.mark.parametrize("held", [False, True])
def test_an_ldevid_and_a_rework_of_one_device_do_not_share_a_commit(
    genesis_template: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    """Each revokes what the other cannot see yet: the later one is held back, and its neighbours are not."""
    world, watch = open_copy(genesis_template, tmp_path / "world")

    async def run() -> None:
        await world.open_order(rework_quantity=1)
        owner = Owner(world, await make_owned(world), watch)
        if held:
            await owner.enrol()
        await permit(world, owner.unit)
        again = Unit(1)
        requests = (again.request, "station"), (Unit(2).request, "station")
        reworked, _, answer = await ask_at_once(world, monkeypatch, owner, *requests)
        codes = {code_of(reworked), code_of(answer)}
        assert codes == {"DeviceIssued", "enrolment-under-way"}
        if code_of(reworked) != "DeviceIssued":
            await again.issue(world)  # the same request, once more
        assert code_of(await owner.ask(make_request())) == "device-revoked"
        rows = world.room.store.list(LdevidRow, "serial")
        assert {row["number"] for row in rows} < set(revoked(world))
        check_books(world)

    asyncio.run(run())
    world.stop()


async def ask_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, owner: Owner, *requests: tuple[IssueDevice, str]
) -> list[AnyResult | Problem]:
    """Answers to requests, and to one of the device for an LDevID, whose orders the writer takes as one batch."""
    waiting: list[Order] = []
    complete, go_on = asyncio.Event(), Event()

    async def seal(room: Room, order: Order) -> Sealed:
        waiting.append(order)
        if len(waiting) == len(requests) + 1:
            loop = asyncio.get_running_loop()
            busy.append(loop.create_task(room.writer.run(go_on.wait)))
            loop.call_later(0.1, go_on.set)
            await asyncio.sleep(0.02)
            complete.set()
        await complete.wait()
        return await sealed(room, order)

    sealed, busy = Room.seal, list[asyncio.Task[bool]]()
    with monkeypatch.context() as patched:
        patched.setattr(Room, "seal", seal)
        asked = [world.try_ask(*request) for request in requests]
        found = list(await asyncio.gather(*asked, owner.ask(make_request())))
    await asyncio.gather(*busy)
    return found


@pytest.mark.req("CA-14")
def test_a_rework_while_a_request_is_under_way_holds_the_ldevid_back(
    genesis_template: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The board that was taken out asked; the unit is another by the time of the answer."""
    world, watch = open_copy(genesis_template, tmp_path / "world")
    sealed = Room.seal

    async def seal(room: Room, order: Order) -> Sealed:
        if order.draft.kind == "certificate.ldevid":
            again = Unit(1)
            await again.issue(world)
            await again.confirm(world)
        return await sealed(room, order)

    async def run() -> None:
        await world.open_order(rework_quantity=1)
        owner = Owner(world, await make_owned(world), watch)
        await permit(world, owner.unit)
        monkeypatch.setattr(Room, "seal", seal)
        assert code_of(await owner.ask()) == "enrolment-under-way"
        assert world.room.store.list(LdevidRow, "serial") == []
        check_books(world)

    asyncio.run(run())
    world.stop()
