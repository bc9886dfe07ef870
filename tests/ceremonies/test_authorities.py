"""New generations of CAs: made, switched to, refused; what the old one may still do, and what is linked with what."""

import asyncio
import json
from collections.abc import Hashable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from ceremonies import commands
from ceremonies.alarms import list_alarms
from ceremonies.commands import CeremonyShown, DeviceIssued, ExecuteStep, IssueDevice
from ceremonies.generations import AuthorityNotIssuing
from ceremonies.issuance import load_line
from ceremonies.issuers import load_issuer
from ceremonies.public import public_documents
from ceremonies.quorums import CeremonyUnknown
from pki.x509.chains import verify_chain
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.field import execute, problem, propose
from tests.ceremonies.lines import check_books, code_of, figures, make_units
from tests.ceremonies.revoking import (
    ask_status,
    list_lists,
    make_responder,
    open_copy,
    question,
    read_list,
    revoke,
    turn,
)
from tests.ceremonies.rotating import (
    issue,
    issuer_of,
    list_certificates,
    rotate,
    rotation,
    sha256,
    succeed,
    switch,
    verify,
)
from tests.ceremonies.small import act, make_draft, make_order, seal
from tests.ceremonies.test_enrolment import ask_as, certify, enrol, plan_of
from tests.world import World, audit_world, make_request


def standings(world: World) -> dict[str, str]:
    generations = world.room.ledger.replay.generations
    found = {key.label: generations.standing(key.spki) for key in world.room.door.keyring}
    return {label: standing for label, standing in found.items() if standing}


@pytest.mark.req("KL-1", "KL-2", "RO-1", "RO-3", "MP-1")
def test_a_new_generation_waits_until_the_switch_and_the_old_one_then_issues_nothing(factory_world: World) -> None:
    world = factory_world
    first = issue(world, 1)
    asyncio.run(rotate(world))
    assert standings(world)["device-ca-2"] == "pending"
    assert issuer_of(issue(world, 2).certificate) == issuer_of(first.certificate) == "Acme Device CA G1"
    turn(world)
    asyncio.run(switch(world))
    assert (standings(world)["device-ca"], standings(world)["device-ca-2"]) == ("superseded", "issuing")
    new = issue(world, 3)
    assert issuer_of(new.certificate) == "Acme Device CA G2"
    certificates = x509.load_pem_x509_certificates(new.chain)
    assert [item.subject.rfc4514_string().split(",")[0] for item in certificates] == [
        "CN=Acme Device CA G2", "CN=Acme Identity Root G1",
    ]  # fmt: skip
    entry = next(leaf for leaf in reversed(read_leaves(world)) if leaf["type"] == "certificate.switch")
    assert [key["label"] for key in entry["keys"]] == ["device-ca", "device-ca-2"]
    assert entry["op"]["what"]["reason"] == "verifiers know it"
    assert asyncio.run(audit_world(world)).verdict == "authenticated"
    world.stop()
    world.start()
    assert issuer_of(issue(world, 4).certificate) == "Acme Device CA G2"


@pytest.mark.req("RO-2", "CA-8")
def test_a_new_root_is_joined_to_the_old_one_in_both_directions(factory_world: World, tmp_path: Path) -> None:
    world = factory_world
    old = issue(world, 1).certificate
    succeed(world, "identity-root-2", "identity-root", days=9500)
    succeed(world, "device-ca-2", "device-ca")
    new = issue(world, 2).certificate
    known = list_certificates(world)
    links = {name for name in known if "@" in name}
    assert links == {"identity-root-2@identity-root", "identity-root@identity-root-2"}
    number = x509.load_pem_x509_certificate(known["identity-root-2@identity-root"]).serial_number
    alone = commands.RevokeCertificate(number=f"{number:x}", reason="superseded", why="one officer")
    assert problem(asyncio.run(world.try_ask(alone, "officer"))).code == "revocation-refused"
    roots = [known["identity-root"], known["identity-root-2"]]
    between = [pem for name, pem in known.items() if "root" not in name or "@" in name]
    for leaf in (old, new):
        for root in roots:
            assert verify(tmp_path, leaf, root, between) == ""
    assert verify(tmp_path, new, roots[0], [known["device-ca-2"], roots[1]])
    assert verify(tmp_path, old, roots[1], [known["device-ca"], roots[0]])
    verify_chain(new, [known["device-ca-2"], known["identity-root-2@identity-root"]], roots[0], datetime.now(UTC))
    assert asyncio.run(audit_world(world)).verdict == "authenticated"
    plan = {"reason": "superseded", "why": "verifiers have the new root", "numbers": [f"{number:040x}"]}
    asyncio.run(world.ceremony("unlink", "revoke", plan))
    turn(world)
    assert [item.serial_number for item in read_list(world, "crl/identity-root.crl")] == [number]
    assert issuer_of(issue(world, 3).certificate) == "Acme Device CA G2"
    check_books(world)
    assert {path for path, _ in public_documents(world.room.store, 1 << 40)} >= {f"ca/{name}.pem" for name in known}


@pytest.mark.req("RO-2", "KL-9")
def test_a_root_that_was_stopped_vouches_for_nobody_and_nobody_for_it(genesis_world: World) -> None:
    async def run() -> None:
        await genesis_world.ask(commands.SuspendKey("identity-root", "a drill"), "officer", commands.KeysListed)
        shown = await rotate(genesis_world, "identity-root-2", "identity-root", days=9500)
        assert [name for _, name, _ in shown.documents] == ["identity-root-2"]
        await switch(genesis_world, "identity-root-2")

    turn(genesis_world)
    with pytest.raises(Exception, match="switch-refused"):
        asyncio.run(run())
    turn(genesis_world)
    asyncio.run(switch_again(genesis_world))
    succeed(genesis_world, "device-ca-2")
    assert standings(genesis_world)["device-ca-2"] == "issuing"
    chain = genesis_world.room.ledger.replay.generations
    assert chain.known[chain.issuing["device-ca O=Acme Storage, CN=Acme Device CA"]].generation == 2


async def switch_again(world: World) -> None:
    plan = {"label": "identity-root-2", "reason": "the lists are there"}
    await world.ceremony("switch-again", "ca-switch", plan)


@pytest.mark.parametrize(
    "changes",
    [
        {"label": "director"},
        {"replaces": "director"},
        {"replaces": "ocsp"},
        {"token": "kedge-journal"},
        {"days": 20000},
        {"replaces": "identity-root", "days": 8000},
        {"label": "a@b"},
        {"generation": 1},
        {"more": 1},
    ],
)
def test_plans_that_are_refused_before_a_key_is_made(refusing_genesis: World, changes: dict[str, Any]) -> None:
    command = commands.OpenCeremony("r", "ca-rotate", json.dumps(rotation(**changes)).encode())
    answer = asyncio.run(refusing_genesis.try_ask(command, "officer"))
    assert problem(answer).code in ("plan-malformed", "lint-failed")


def test_a_switch_that_is_refused(genesis_world: World) -> None:
    world = genesis_world

    def refuse(label: str) -> str:
        plan = {"label": label, "reason": "now"}
        return problem(asyncio.run(propose(world, f"s-{label}", "ca-switch", plan))).code

    assert [refuse(label) for label in ("director", "device-ca", "nobody")] == [
        "plan-malformed", "plan-malformed", "key-unknown",
    ]  # fmt: skip
    asyncio.run(make_responder(world))
    asyncio.run(rotate(world))
    assert refuse("device-ca-2") == "switch-refused"  # no list
    turn(world)
    assert refuse("device-ca-2") == "switch-refused"  # no responder
    asyncio.run(make_next_responder(world))
    asyncio.run(switch(world))
    assert refuse("device-ca") == "plan-malformed"  # no way back
    asyncio.run(world.ask(commands.SuspendKey("identity-root", "a drill"), "officer", commands.KeysListed))
    asyncio.run(rotate_site(world))


async def make_next_responder(world: World) -> None:
    plan = {"label": "ocsp-2", "ca": "device-ca-2", "token": "kedge-main", "days": 30}
    await world.ceremony("make-ocsp-2", "ocsp-responder", plan)


async def rotate_site(world: World) -> None:
    answer = await propose(world, "s", "ca-rotate", rotation("site-ca-2", "site-ca"))
    assert problem(answer).code == "authority-unavailable"


@pytest.mark.req("MP-1")
def test_two_rotations_of_one_ca_do_not_make_two_of_one_name(genesis_world: World) -> None:
    async def run() -> None:
        world = genesis_world
        for name, label in (("one", "device-ca-2"), ("two", "device-ca-x")):
            await world.propose(name, "ca-rotate", rotation(label))
            await world.approve(name, "plan", "bob", "carol")
            await world.ask(ExecuteStep(name, "plan"), "officer", CeremonyShown)
            await world.approve(name, "results", "bob", "carol")
        await world.ask(ExecuteStep("one", "results"), "officer", CeremonyShown)
        assert problem(await execute(world, "two", "results")).code == "step-outdated"
        await rotate(world, "device-ca-3")
        refused = await propose(world, "three", "ca-rotate", rotation("device-ca-4", generation=3))
        assert problem(refused).code == "plan-malformed"
        await rotate(world, "device-ca-7", generation=7)
        assert [item.generation for item in world.room.ledger.replay.generations.known.values()][-2:] == [3, 7]

    asyncio.run(run())


def test_a_switch_is_judged_again_when_it_is_executed(genesis_world: World) -> None:
    async def run() -> None:
        world = genesis_world
        plan = {"label": "device-ca-2", "reason": "now"}
        for name in ("one", "two"):
            await world.propose(name, "ca-switch", plan)
            await world.approve(name, "plan", "bob", "carol")
        await world.ask(ExecuteStep("one", "plan"), "officer", CeremonyShown)
        assert problem(await execute(world, "two", "plan")).code == "plan-malformed"

    asyncio.run(rotate(genesis_world))
    turn(genesis_world)
    asyncio.run(run())


@pytest.mark.req("CA-11")
def test_a_request_under_the_label_of_either_generation_is_served_by_the_one_that_issues(factory_world: World) -> None:
    world = factory_world
    before = commands.EnrolDevice("device-ca", "BMS-000001", make_request())
    first = asyncio.run(world.ask(before, "station", commands.DeviceIssued))
    succeed(world)

    async def run() -> None:
        for label, serial in (("device-ca", "BMS-000002"), ("device-ca-2", "BMS-000003")):
            command = commands.EnrolDevice(label, serial, make_request())
            issued = await world.ask(command, "station", commands.DeviceIssued)
            assert issuer_of(issued.certificate) == "Acme Device CA G2"
        for label in ("device-ca", "device-ca-2"):
            again = await world.ask(
                commands.EnrolDevice(label, before.serial, before.csr), "station", commands.DeviceIssued
            )
            assert (again.certificate, again.chain, again.replayed) == (first.certificate, first.chain, True)
        for label in ("site-ca", "identity-root", "nobody"):
            command = commands.EnrolDevice(label, "BMS-000004", make_request())
            assert problem(await world.try_ask(command, "station")).code == "work-order-unknown"

    asyncio.run(run())


@pytest.mark.req("T15", "CA-14")
def test_a_replay_and_a_confirmation_have_the_chain_of_the_issue(factory_world: World) -> None:
    world = factory_world
    units = asyncio.run(make_units(world, range(1, 3)))
    succeed(world, "identity-root-2", "identity-root", days=9500)
    succeed(world)
    new = asyncio.run(make_units(world, range(3, 4)))

    async def run() -> None:
        for unit in (*units, *new):
            again = await world.ask(IssueDevice("wo-1", unit.serial, make_request(unit.key)), "station", DeviceIssued)
            assert again.replayed
            assert (again.certificate, again.chain) == (unit.held.certificate, unit.held.chain)
            assert again.nonce == unit.held.nonce
        assert units[0].held.chain != new[0].held.chain
        confirmations = [unit.confirmation() for unit in (*units, *new)]
        for confirmation in confirmations:
            assert code_of(await world.try_ask(confirmation, "station")) == "DeviceConfirmed"
        mixed = new[0].confirmation(chain_sha256=sha256(new[0].held.certificate + units[0].held.chain))
        assert code_of(await world.try_ask(mixed, "station")) == "chain-mismatch"

    asyncio.run(run())


@pytest.mark.req("AZ-4")
def test_stations_of_both_generations_work_and_get_the_chain_of_the_issue(factory_world: World) -> None:
    world = factory_world
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    first = asyncio.run(enrol(world, key))
    succeed(world, "service-ca-2", "service-ca")

    async def run() -> None:
        again = await certify(world, key)
        assert (again.certificate, again.chain, again.replayed) == (first.certificate, first.chain, True)
        await world.ceremony("enrol-b", "station-enrol", plan_of(other, station="graz-3-b"))
        second = await world.ask(commands.IssueStation("graz-3-b", make_request(other)), "", commands.StationIssued)
        assert issuer_of(second.certificate) == "Acme Service CA G2"
        for number, station in enumerate((first, second), 1):
            request = IssueDevice("wo-1", f"BMS-{number:06}", make_request())
            assert isinstance(await ask_as(world, station, request), DeviceIssued)
            chain = x509.load_pem_x509_certificates(station.chain)
            pems = [item.public_bytes(Encoding.PEM) for item in chain]
            verify_chain(station.certificate, pems[:-1], pems[-1], datetime.now(UTC))

    asyncio.run(run())


@pytest.mark.req("CA-9", "KL-3", "T39")
def test_the_old_generation_answers_for_what_it_issued_until_nothing_needs_it(
    factory_template: World, tmp_path: Path
) -> None:
    world, watch = open_copy(factory_template, tmp_path / "world")
    try:
        asyncio.run(make_responder(world))
        before, after = issue(world, 1).certificate, b""
        asyncio.run(rotate(world))
        asyncio.run(make_next_responder(world))
        crls = turn(world)
        asyncio.run(switch(world))
        after = issue(world, 2).certificate
        for serial in ("BMS-000001", "BMS-000002"):
            revoke(world, serial)
        asyncio.run(crls.turn())
        known = list_certificates(world)
        for leaf, label in ((before, "device-ca"), (after, "device-ca-2")):
            certificate, issuer = x509.load_pem_x509_certificate(leaf), x509.load_pem_x509_certificate(known[label])
            assert [item.serial_number for item in read_list(world, f"crl/{label}.crl")] == [certificate.serial_number]
            response = ask_status(world, question(certificate, issuer))
            assert response.certificate_status is ocsp.OCSPCertStatus.REVOKED
            response.certificates[0].verify_directly_issued_by(issuer)
        newest = list_lists(world)["crl/device-ca.crl"].number
        watch.go_on(13 * 3600)
        asyncio.run(crls.turn())
        assert list_lists(world)["crl/device-ca.crl"].number > newest
        kept = issue(world, 3)
        assert issuer_of(kept.certificate) == "Acme Device CA G2"
        at = ("-attime", str(watch.read() // 1_000_000), "-crl_check")
        for leaf, label, said in (
            (before, "device-ca", "certificate revoked"), (after, "device-ca-2", "certificate revoked"),
            (kept.certificate, "device-ca-2", ""), (kept.certificate, "device-ca", "unable to get certificate CRL"),
        ):  # fmt: skip
            lists = ("-CRLfile", str(world.path / f"public/crl/{label}.crl"))
            told = verify(
                tmp_path, leaf, known["identity-root"], [known["device-ca"], known["device-ca-2"]], *at, *lists
            )
            assert said in told if said else told == ""
        refused = problem(asyncio.run(propose(world, "d", "destroy", {"labels": ["device-ca-2"], "reason": "x"})))
        assert (refused.code, refused.details["needing"]) == ("gate-closed", 1)
        asyncio.run(world.ceremony("drop", "destroy", {"labels": ["device-ca"], "reason": "nothing needs it"}))
        watch.go_on(48 * 3600)
        asyncio.run(crls.turn())
        assert {item.partition(".")[0] for item in list_lists(world)} >= {"crl/device-ca-2"}
        assert list_alarms(world.room) == {}
    finally:
        world.stop()


@pytest.mark.req("KL-3")
def test_a_ca_whose_certificates_live_is_not_destroyed(factory_world: World) -> None:
    world = factory_world
    issue(world, 1)
    succeed(world)

    def refuse(label: str, **more: Any) -> object:
        plan = {"labels": [label], "reason": "rotated", **more}
        return asyncio.run(propose(world, f"d-{label}-{len(more)}", "destroy", plan))

    assert problem(refuse("device-ca")).details["certificates"][0].endswith("BMS-000001")
    assert problem(refuse("identity-root")).code == "gate-closed"
    until = int(datetime.now(UTC).timestamp()) + 3600
    waived = [{"serial": "BMS-000001", "reason": "lost at sea", "until": until}]
    assert isinstance(refuse("device-ca", waived=waived), CeremonyShown)
    number = world.room.ledger.replay.generations.known[world.room.door.keyring.labelled("device-ca").spki].number
    plan = {"reason": "cACompromise", "why": "its own end", "numbers": [number]}
    asyncio.run(world.ceremony("end", "revoke", plan))
    assert isinstance(refuse("device-ca"), CeremonyShown)


@pytest.mark.req("CA-13", "T21")
def test_a_request_that_was_drafted_for_the_old_generation_is_drafted_again(factory_world: World) -> None:
    """It waited while the switch was written: whoever asks sees nothing of it, and the order counts no refusal."""
    world, key = factory_world, ec.generate_private_key(ec.SECP256R1())
    issue(world, 1)
    asyncio.run(world.ceremony("enrol", "station-enrol", plan_of(key)))
    stale: dict[Hashable, Any] = {
        ("line", "wo-1"): act(world, lambda: load_line(world.room, "wo-1")),
        "service-ca": act(world, lambda: load_issuer(world.room, "service-ca")),
    }
    succeed(world)
    succeed(world, "service-ca-2", "service-ca")
    before = len(read_leaves(world))
    world.room.cache.update(stale)
    assert issuer_of(issue(world, 2).certificate) == "Acme Device CA G2"
    assert issuer_of(asyncio.run(certify(world, key)).certificate) == "Acme Service CA G2"
    refused = [leaf for leaf in read_leaves(world)[before:] if leaf["type"] == "key.sign.denied"]
    assert [leaf["out"]["why"].partition(":")[0] for leaf in refused] == ["authority-not-issuing"] * 2
    shown = asyncio.run(figures(world))
    assert (shown.issued, shown.refused) == (2, 0)


@pytest.mark.req("KL-7", "T5")
@pytest.mark.parametrize("label", ["device-ca", "device-ca-2"])
def test_the_door_keeps_a_generation_that_does_not_issue_to_lists_and_responders(
    factory_world: World, label: str
) -> None:
    """Whatever a flow asks: before the switch of the new one, after it of the old one."""
    world = factory_world
    asyncio.run(rotate(world))
    turn(world)
    if label == "device-ca":
        asyncio.run(switch(world))
    for kind in ("certificate.idevid", "certificate.ieee2030-5-device"):
        with pytest.raises(AuthorityNotIssuing):
            seal(world, make_order(world, b"", draft=make_draft(world, label, kind, b"device")))
    with pytest.raises(CeremonyUnknown):  # it may; there is no ceremony that approves it
        seal(world, make_order(world, b"", draft=make_draft(world, label, "certificate.ocsp-responder", b"responder")))
