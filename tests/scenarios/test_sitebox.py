"""A centre and an offline plant: files go to and fro, and what the box did beyond its grant is found."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ceremonies import claims, recording
from ceremonies.commands import (
    BoxSettled,
    FindStrays,
    FleetQueried,
    GrantsListed,
    IssueDevice,
    ListGrants,
    PermitRework,
    QueryFleet,
    RecordStatements,
    ReworkPermitted,
    Ship,
    StatementsRecorded,
    StraysFound,
)
from ceremonies.fleet import DeviceClass, Fleet, Makers
from ceremonies.orders import Order
from ceremonies.reckoning import check_counts, check_rows
from ceremonies.replay import replay_journal
from ceremonies.sums import EMPTY
from pki.drafts import Draft, ToSign
from pki.x509 import certificates
from pki.x509.certificates import Prepared, draft_prepared
from pki.x509.pem import read_pem
from pki.x509.profiles import Profile
from pki.x509.tbs import split_signed
from tests.api.cli.running import kedge
from tests.api.houses import House, open_house
from tests.ceremonies.boxed import (
    CA,
    GRANT,
    Pair,
    bring,
    carry,
    copy_box,
    import_plan,
    issue,
    make_grant,
    make_pair,
    read_document,
    settle,
    trust_of,
)
from tests.ceremonies.field import make_controller, problem, propose, read_leaves, sign_release, submit
from tests.ceremonies.protected import TPM_ROOT
from tests.ceremonies.revoking import PARTITIONED
from tests.ceremonies.small import BY
from tests.world import CLASS, RefusedError, World, audit_world, make_request


def serial(number: int) -> str:
    return f"BMS-{number:06}"


def codes(settled: Any) -> list[str]:
    assert isinstance(settled, BoxSettled), settled
    return [item.code for item in settled.findings]


def check(*worlds: World) -> None:
    """What is in memory and in the rows is what the entries say, before and after a start."""
    for world in worlds:
        store, ledger = world.room.store, world.room.ledger
        read = replay_journal(store, ledger.journal)
        assert read == ledger.replay
        check_rows(store, read, world.room.door.keyring)
        check_counts(store, read)
        assert asyncio.run(audit_world(world)).verdict == "authenticated"
        world.stop()
        world.start()


@pytest.mark.req("CA-13")
def test_a_year_of_an_offline_plant(pair: Pair) -> None:
    """Grant, issue, rework, settle, the next grant, an increment: nothing is found, the centre knows each device."""
    centre, box = pair.centre, pair.box

    async def play() -> None:
        for number in range(1, 9):
            await issue(box, serial(number))
        await box.ask(PermitRework("wo-1", serial(1), "board replaced"), "operator", ReworkPermitted)
        await issue(box, serial(1))  # the ninth certificate
        await issue(box, serial(9))
        refused = problem(await box.try_ask(IssueDevice("wo-1", serial(10), make_request()), "station"))
        assert refused.code == "grant-exhausted"
        first = await settle(centre, await carry(box))
        assert (codes(first), first.certificates, first.devices, first.used) == ([], 10, 9, {GRANT: 10})
        assert first.counts == {"refused": 1, "revoked": 1}
        await bring(centre, box, await make_grant(centre, "graz-2026-02", 5), "graz-2026-02")
        await issue(box, serial(10))
        shown = await centre.ask(ListGrants(), "auditor", GrantsListed)
        assert [(item.size, item.used) for item in shown.boxes] == [(first.size, 10)]
        second = await settle(centre, await carry(box, shown.boxes[0].checkpoint.decode()))
        assert (codes(second), second.certificates, second.used) == ([], 1, {GRANT: 10, "graz-2026-02": 1})
        assert second.since == first.size
        fleet = await centre.ask(QueryFleet(), "officer", FleetQueried)
        assert [item.serial for item in fleet.devices] == [serial(number) for number in range(1, 11)]
        said = await centre.ask(RecordStatements("ship-0001", (Ship(serial(3)),)), "operator", StatementsRecorded)
        assert said.verdicts[0].state == "shipped"

    asyncio.run(play())
    check(centre, box)


@pytest.mark.req("CA-14")
def test_a_crash_spends_no_certificate_twice(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """An intent that a crash left open has its unit; the retry gets the same bytes and no second unit."""
    centre, box, csr = pair.centre, pair.box, make_request()

    def fail(_: object, placed: Sequence[object], *__: object) -> None:
        if placed:
            raise RuntimeError("the power went")

    with monkeypatch.context() as patched:
        patched.setattr(recording.Recording, "_close", fail)
        asyncio.run(box.try_ask(IssueDevice("wo-1", serial(1), csr), "station"))
    box.stop()
    box.start()
    assert box.room.ledger.replay.grants.held[GRANT].used == 1

    async def play() -> None:
        told = await settle(centre, await carry(box))
        assert (codes(told), told.alarm) == (["unknown-outcome", "open-intent"], False)
        assert told.used == {GRANT: 1}
        await issue(box, serial(1), csr)
        again = await settle(centre, await carry(box))
        assert (codes(again), again.certificates, again.used) == ([], 1, {GRANT: 1})

    asyncio.run(play())
    assert box.room.ledger.replay.grants.held[GRANT].used == 1
    check(centre, box)


def let_go(patched: pytest.MonkeyPatch) -> None:
    """A box whose software was changed: it issues whatever its officers and its HSM let it."""
    patched.setattr(claims, "_refuse_ungranted", lambda *_: None)
    patched.setattr("ceremonies.issuance.refuse_grant", lambda *_: None)
    patched.setattr("ceremonies.recording.count_grants", lambda *_: {})


@pytest.mark.req("CA-13", "T4")
def test_what_a_changed_box_issues_beyond_its_grant_is_found(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    centre, box = pair.centre, pair.box
    let_go(monkeypatch)

    async def play() -> BoxSettled:
        for number in range(1, 13):
            await issue(box, serial(number))
        settled: BoxSettled = await settle(centre, await carry(box))
        return settled

    settled = asyncio.run(play())
    assert codes(settled) == ["overuse", "overuse"]
    assert [item.serial for item in settled.findings] == [serial(11), serial(12)]
    assert settled.alarm and settled.devices == 12  # they exist: campaigns must reach them
    (leaf,) = [leaf for leaf in read_leaves(centre) if leaf.type == "grant.settle"]
    assert leaf.op and leaf.op.what and leaf.op.what["why"].startswith("overuse")


@pytest.mark.req("CA-13", "T4")
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"valid_from": 1_700_000_000, "valid_to": 1_700_000_001}, "outside-window"),
        ({"profiles": ["ieee2030-5-device"]}, "other-class"),
    ],
)
def test_other_dates_and_profiles_are_refused_at_the_box_and_found_at_the_centre(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], code: str
) -> None:
    centre, box = pair.centre, pair.box

    async def play() -> None:
        await bring(centre, box, await make_grant(centre, "graz-2", 10, **fields), "graz-2")
        refused = problem(await box.try_ask(IssueDevice("wo-1", serial(1), make_request()), "station"))
        assert refused.code == "grant-over"
        with monkeypatch.context() as patched:
            let_go(patched)
            await issue(box, serial(1))
        assert codes(await settle(centre, await carry(box))) == [code]

    asyncio.run(play())


@pytest.mark.req("AU-2", "T26")
def test_a_box_that_was_set_back_is_found(pair: Pair, tmp_path: Path) -> None:
    """Somebody restores the box with all its anchors, or clones it: both go on under one key."""
    centre, box = pair.centre, pair.box
    asyncio.run(issue(box, serial(1)))
    box.stop()
    twin = copy_box(box, tmp_path / "twin")
    box.start()
    older = asyncio.run(carry(box))

    async def go_on() -> None:
        for number in range(2, 6):
            await issue(box, serial(number))
        assert codes(await settle(centre, await carry(box))) == []
        stale = problem(await settle(centre, older))
        assert stale.code == "settlement-refused" and "were settled" in stale.message

    asyncio.run(go_on())
    box.stop()
    twin.start()

    async def go_on_again() -> None:
        await issue(twin, serial(7))
        shorter = problem(await settle(centre, await carry(twin)))
        assert shorter.code == "box-forked" and "set back" in shorter.message
        for number in range(8, 14):
            await issue(twin, serial(number))
        longer = problem(await settle(centre, await carry(twin)))
        assert longer.code == "box-forked"

    asyncio.run(go_on_again())
    twin.stop()
    denied = [leaf for leaf in read_leaves(centre) if leaf.type == "grant.settle" and leaf.out]
    assert [leaf.out.why.partition(":")[0] for leaf in denied if leaf.out and leaf.out.why] == [
        "settlement-refused", "box-forked", "box-forked",
    ]  # fmt: skip
    box.start()
    check(centre)


@pytest.mark.req("CA-2", "T4")
def test_clones_are_found_and_enter_no_register(pair: Pair) -> None:
    """A key of a device of the centre, a serial of the centre; afterwards the centre refuses those of the box."""
    centre, box = pair.centre, pair.box
    cloned, own = ec.generate_private_key(ec.SECP256R1()), make_request()

    async def play() -> None:
        await centre.open_order(last=100, quantity=50)
        await issue(centre, serial(50), make_request(cloned))
        await issue(centre, serial(51))
        await issue(box, serial(1), make_request(cloned))
        await issue(box, serial(51))
        await issue(box, serial(2), own)
        settled = await settle(centre, await carry(box))
        assert codes(settled) == ["key-clone", "serial-clone"]
        assert "wo-1" in settled.findings[0].said and serial(50) in settled.findings[0].said
        assert (settled.certificates, settled.devices, settled.alarm) == (3, 1, True)
        known = problem(await centre.try_ask(IssueDevice("wo-1", serial(60), own), "station"))
        taken = problem(await centre.try_ask(IssueDevice("wo-1", serial(2), make_request()), "station"))
        assert (known.code, taken.code) == ("key-known", "serial-taken")

    asyncio.run(play())
    check(centre)


@pytest.mark.req("CA-13")
def test_a_grant_opens_no_other_box(pair: Pair, tmp_path: Path) -> None:
    """Another box takes neither grant nor certificate, and its journal is none of the first one's."""
    other = make_pair(pair.centre, tmp_path / "other").box

    async def play() -> None:
        grant = await make_grant(pair.centre, "graz-2", 5)
        with pytest.raises(RefusedError, match="grant-refused"):
            await bring(pair.centre, other, grant, "graz-2")
        await other.open_order()
        nothing = problem(await other.try_ask(IssueDevice("wo-1", serial(1), make_request()), "station"))
        assert nothing.code == "grant-missing"
        refused = problem(await settle(pair.centre, await carry(other)))
        assert refused.code == "settlement-refused"

    asyncio.run(play())
    other.stop()


@pytest.mark.req("T4")
def test_a_certificate_that_no_journal_has_is_a_stray(pair: Pair, tmp_path: Path) -> None:
    """A twin of the box issues beside its journal; the certificate is seen in the field."""
    centre, box = pair.centre, pair.box
    box.stop()
    twin = copy_box(box, tmp_path / "twin")
    twin.start()
    stray = asyncio.run(issue(twin, serial(200))).certificate
    twin.stop()
    box.start()

    async def look(*seen: bytes) -> list[str]:
        found = await centre.ask(FindStrays(seen), "auditor", StraysFound)
        return [item.state for item in found.verdicts]

    async def play() -> None:
        known = (await issue(box, serial(1))).certificate
        root = read_document(centre, "identity-root", "certificate")
        assert await look(stray, known, root) == ["unsettled", "unsettled", "foreign"]
        await asyncio.sleep(1.1)  # a certificate begins at a whole second
        await issue(box, serial(2))
        await settle(centre, await carry(box))
        assert await look(stray, known, read_pem(known, "CERTIFICATE")) == ["stray", "known", "known"]
        assert problem(await centre.try_ask(FindStrays((b"none",)), "officer")).code == "der-malformed"

    asyncio.run(play())
    (leaf,) = [leaf for leaf in read_leaves(centre) if leaf.type == "grant.stray"]
    assert leaf.op and leaf.op.what and len(leaf.op.what["numbers"]) == 1


@pytest.mark.req("T4")
def test_a_certificate_under_another_name_is_found(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed box has a device certificate signed as if it were a list, and hands out another than was signed."""
    centre, box = pair.centre, pair.box

    async def play() -> None:
        issued = await issue(box, serial(1))
        der = read_pem(issued.certificate, "CERTIFICATE")
        ca = box.room.door.keyring.labelled(CA)
        tbs = split_signed(der)[0]
        public_key = box.room.store.blob(ca.spki) or b""
        facts = {"crl_number": 1, "from": 0, "until": 1, "entries": 0, "covers": EMPTY, "partition": -1}
        draft = Draft("crl", "s", tbs, (ToSign(ca.spki, tbs),), {ca.spki: public_key}, facts, lambda _: b"a list")
        await box.room.seal(Order(draft=draft, by=BY, name="graz.crl"))
        with monkeypatch.context() as patched:
            patched.setattr(certificates, "assemble_certificate", lambda *_: issued.certificate + b"\n")
            await issue(box, serial(2))
        assert codes(await settle(centre, await carry(box))) == ["other-use", "certificate-differs"]

    asyncio.run(play())


def run(house: House, path: Path, role: str, verb: str, *arguments: object) -> Any:
    """A command line against one of the two, with a fresh token of a role."""
    (path / f"{role}.token").write_text(house.world.role_token(role))
    connection = ("--url", house.served.url, "--token-file", str(path / f"{role}.token"))
    result = kedge("--json", verb, *connection, *map(str, arguments))
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])  # the servers of this process log before it


@pytest.mark.req("CA-13")
def test_a_stick_goes_to_and_fro(pair: Pair, tmp_path: Path) -> None:
    """As people do it, with the command line on both sides."""
    stick = tmp_path / "stick"
    with open_house(pair.centre) as centre, open_house(pair.box) as box:
        terms = (f"box={CA}", "quantity=5", f"class={CLASS}", "until=2090-01-31")
        run(centre, tmp_path, "officer", "grant", "make", "graz-2", *terms)
        asyncio.run(pair.centre.carry_out("grant-graz-2", "bob", "carol"))
        run(centre, tmp_path, "officer", "grant", "export", "graz-2", stick / "grant")
        run(box, tmp_path, "officer", "grant", "import", stick / "grant", "--ceremony", "import-2")
        asyncio.run(pair.box.carry_out("import-2", "bob", "carol"))
        issued = asyncio.run(issue(pair.box, serial(1)))
        run(box, tmp_path, "auditor", "journal", "export", stick / "journal-1")
        settled = run(centre, tmp_path, "officer", "grant", "settle", CA, stick / "journal-1")
        assert (settled["devices"], settled["used"], settled["findings"]) == (1, {"graz-2": 1}, [])
        run(centre, tmp_path, "auditor", "grant", "checkpoint", CA, stick / "since")
        asyncio.run(issue(pair.box, serial(2)))
        run(box, tmp_path, "auditor", "journal", "export", stick / "journal-2", "--since", stick / "since")
        more = run(centre, tmp_path, "officer", "grant", "settle", CA, stick / "journal-2")
        assert (more["since"], more["devices"], more["used"]) == (settled["size"], 1, {"graz-2": 2})
        (stick / "seen.pem").write_bytes(issued.certificate)
        found = run(centre, tmp_path, "operator", "grant", "strays", stick / "seen.pem")
        assert found["verdicts"][0]["state"] == "known"
        shown = [run(house, tmp_path, "auditor", "grant", "show") for house in (centre, box)]
        assert [[item["used"] for item in side["grants"]] for side in shown] == [[0, 2], [0, 2]]


@pytest.mark.req("T4")
def test_another_certificate_than_was_signed_is_found(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One intent, two certificates: a changed box hands out the one that its token signed beside the journal."""
    centre, box, csr = pair.centre, pair.box, make_request()
    box.stop()
    twin = copy_box(box, tmp_path / "twin")
    twin.start()
    other = asyncio.run(issue(twin, serial(1), csr))
    what = read_leaves(twin)[other.proven.index].op
    twin.stop()
    box.start()

    def draft(profile: Profile, signer: bytes, prepared: Prepared, **about: str) -> Draft:
        real = draft_prepared(profile, signer, prepared, **about)
        return msgspec.structs.replace(real, what=(what and what.what) or {}, assemble=lambda _: other.certificate)

    async def play() -> None:
        with monkeypatch.context() as patched:
            patched.setattr("ceremonies.issuance.draft_prepared", draft)
            await issue(box, serial(1), csr)
        settled = await settle(centre, await carry(box))
        assert codes(settled) == ["certificate-differs"]
        assert "something else signed" in settled.findings[0].said

    asyncio.run(play())


@pytest.mark.req("CA-13")
def test_a_device_of_a_box_is_heard_by_the_centre(pair: Pair) -> None:
    """Campaigns reach it: its receipts count, from its settlement on, and by the key that it has now."""
    centre, box = pair.centre, pair.box
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]

    async def play() -> None:
        release = await sign_release(centre, "2.3.0", 2)
        old, new = [await make_controller(centre, serial(1), key, release) for key in keys]
        await issue(box, serial(1), make_request(keys[0]))
        assert await submit(centre, await old.report(centre)) == ("device-unknown",)
        await settle(centre, await carry(box))
        assert await submit(centre, await old.report(centre)) == ("",)
        await box.ask(PermitRework("wo-1", serial(1), "board replaced"), "operator", ReworkPermitted)
        await issue(box, serial(1), make_request(keys[1]))
        await settle(centre, await carry(box))
        told = await submit(centre, await old.report(centre), await new.report(centre))
        assert told == ("device-unknown", "")

    asyncio.run(play())
    check(centre, box)


def govern(world: World, fleet: Fleet) -> None:
    """From now on the policy says this of the fleet."""
    door, governing = world.room.door, world.room.door.require_governing()
    policy = msgspec.structs.replace(governing.policy, fleet=fleet)
    door.governing = msgspec.structs.replace(governing, policy=policy)
    world.room.cache.clear()


@pytest.mark.req("CA-13")
def test_certificates_are_compared_with_the_policy_of_their_grant(pair: Pair) -> None:
    """The centre changes its policy first; the box goes on until it follows, and then asks for a new grant."""
    centre, box = pair.centre, pair.box

    async def play() -> None:
        await issue(box, serial(1))
        elements = DeviceClass("gateway", "tpm", key_protection="tpm")  # no grant names it
        classes = (*PARTITIONED.classes, elements)
        govern(centre, msgspec.structs.replace(PARTITIONED, classes=classes, makers=Makers(tpm_roots=(TPM_ROOT.pem,))))
        await issue(box, serial(2))
        assert codes(await settle(centre, await carry(box))) == []
        grant = await make_grant(centre, "graz-2", 5)
        told = problem(await propose(box, "import-x", "grant-import", import_plan(centre, grant)))
        assert told.code == "grant-refused" and "word for word" in told.hint
        govern(box, PARTITIONED)
        over = problem(await box.try_ask(IssueDevice("wo-1", serial(3), make_request()), "station"))
        assert over.code == "grant-over" and "policy" in over.message
        await bring(centre, box, grant, "graz-2")
        await issue(box, serial(3))
        settled = await settle(centre, await carry(box))
        assert (codes(settled), settled.used) == ([], {GRANT: 2, "graz-2": 1})

    asyncio.run(play())


async def rotate_journal(box: World, number: int) -> None:
    """The box's journal gets its next key; both sign from here on."""
    plan = {"label": f"journal-{number}", "token": "kedge-journal", "reason": "old"}
    await box.ceremony(f"rotate-{number}", "log-key-rotate", plan)


async def retire_journal(box: World, label: str) -> None:
    """This key signs no more."""
    await box.ceremony(f"retire-{label}", "log-key-retire", {"label": label, "reason": "the centre follows"})


@pytest.mark.req("KL-9", "AU-2")
def test_settlements_follow_the_keys_of_the_journal(pair: Pair) -> None:
    """A whole change between two settlements; one that a settlement comes into the middle of; increments."""
    centre, box = pair.centre, pair.box

    async def play() -> None:
        first = await settle(centre, await carry(box))
        assert codes(first) == []
        pinned = centre.room.ledger.replay.grants.boxes[CA].policy
        await rotate_journal(box, 2)
        await retire_journal(box, "journal")
        await issue(box, serial(1))
        assert codes(await settle(centre, await carry(box, await settled_to(centre)))) == []
        assert centre.room.ledger.replay.grants.boxes[CA].policy != pinned
        await rotate_journal(box, 3)
        await issue(box, serial(2))
        assert codes(await settle(centre, await carry(box))) == []
        await retire_journal(box, "journal-2")
        await issue(box, serial(3))
        last = await settle(centre, await carry(box, await settled_to(centre)))
        assert (codes(last), last.devices) == ([], 1)

    asyncio.run(play())
    box_now = centre.room.ledger.replay.grants.boxes[CA]
    assert (centre.room.store.blob(box_now.policy) or b"").decode() == trust_of(box)
    check(centre, box)


async def settled_to(centre: World) -> str:
    """The checkpoint from which the next export goes on."""
    shown = await centre.ask(ListGrants(), "officer", GrantsListed)
    return shown.boxes[0].checkpoint.decode()
