"""A CA's next generation takes over while the lines work: under load, in the middle of a batch, across crashes."""

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ceremonies import commands
from ceremonies.commands import (
    CeremonyShown,
    DeviceIssued,
    DeviceRequest,
    DevicesIssued,
    ExecuteStep,
    IssueDevice,
    IssueDevices,
)
from ceremonies.crls import Crls
from tests.ceremonies.authorities import SERVER, Authority
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.field import execute
from tests.ceremonies.lines import check_books, figures
from tests.ceremonies.revoking import openssl, turn
from tests.ceremonies.rotating import issuer_of, list_certificates, rotate, rotation, succeed, verify
from tests.ceremonies.templates import Templates
from tests.ceremonies.test_enrolment import enrol, plan_of
from tests.engines import Engine
from tests.scenarios.test_crashes import check_journal, crash
from tests.world import World, copy_world, make_request

BATCH, SINGLES = 1000, 100
G1, G2 = "Acme Device CA G1", "Acme Device CA G2"


async def prepare_switch(world: World) -> None:
    """A pending generation, and an approved switch to it."""
    await world.propose("switch", "ca-switch", {"label": "device-ca-2", "reason": "verifiers know it"})
    await world.approve("switch", "plan", "bob", "carol")


def serial(number: int) -> str:
    return f"BMS-{number:06}"


@pytest.mark.req("T2", "T25", "CA-13", "CA-14")
def test_a_switch_in_the_middle_of_a_batch_and_of_single_requests_fails_none(
    genesis_world: World, tmp_path: Path
) -> None:
    world, total = genesis_world, BATCH + SINGLES
    asyncio.run(world.open_order(quantity=total, last=total))
    asyncio.run(rotate(world))
    turn(world)
    asyncio.run(prepare_switch(world))
    requests = [DeviceRequest(serial(number), make_request()) for number in range(1, total + 1)]
    singles = iter(requests[BATCH:])

    async def work(worker: int) -> list[DeviceIssued]:
        ask = world.ask
        return [await ask(IssueDevice("wo-1", item.serial, item.csr), "station", DeviceIssued) for item in singles]

    async def switch_over() -> CeremonyShown:
        for _ in range(10_000):
            if world.room.ledger.replay.quotas["wo-1"].issued >= total // 4:
                break
            await asyncio.sleep(0.002)
        return await world.ask(ExecuteStep("switch", "plan"), "officer", CeremonyShown)

    async def run() -> tuple[list[commands.AnyResult | commands.Problem], list[DeviceIssued]]:
        batch = asyncio.create_task(world.ask(IssueDevices("wo-1", tuple(requests[:BATCH])), "station", DevicesIssued))
        over = asyncio.create_task(switch_over())
        alone = [item for part in await asyncio.gather(*map(work, range(8))) for item in part]
        assert (await over).state == "closed"
        return list((await batch).answers), alone

    batch, alone = asyncio.run(run())
    every = [item for item in (*batch, *alone) if isinstance(item, DeviceIssued)]
    assert (len(every), len(alone)) == (total, SINGLES), "a request failed at the switch"
    assert {issuer_of(item.certificate) for item in every} == {G1, G2}
    check_order(world)
    check_chains(world, tmp_path, every)
    shown = asyncio.run(figures(world))
    assert (shown.issued, shown.refused) == (total, 0)
    check_books(world)


def check_order(world: World) -> None:
    """By the journal: up to the switch the old generation signed, after it the new one."""
    leaves = read_leaves(world)
    at = next(seq for seq, leaf in enumerate(leaves) if leaf["type"] == "certificate.switch")
    signed = [
        (seq < at, leaf["keys"][0]["label"])
        for seq, leaf in enumerate(leaves)
        if leaf["type"] == "key.sign.outcome" and leaf["op"]["kind"] == "certificate.idevid"
    ]
    assert set(signed) == {(True, "device-ca"), (False, "device-ca-2")}
    stale = [leaf for leaf in leaves if leaf.get("out", {}).get("why", "").startswith("authority-not-issuing")]
    print(f"{len(signed)} issued, {len(stale)} drafted again")


def check_chains(world: World, folder: Path, every: list[DeviceIssued]) -> None:
    """Each certificate under the chain that came with it, by openssl."""
    chains = {item.chain for item in every}
    assert len(chains) == 2
    for number, chain in enumerate(sorted(chains)):
        ca, root = (part + b"-----END CERTIFICATE-----\n" for part in chain.split(b"-----END CERTIFICATE-----\n")[:2])
        (folder / "ca.pem").write_bytes(ca)
        (folder / "root.pem").write_bytes(root)
        mine = [f"{number}-{item.serial}.pem" for item in every if item.chain == chain]
        for item in every:
            if item.chain == chain:
                (folder / f"{number}-{item.serial}.pem").write_bytes(item.certificate)
        done = openssl("verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "ca.pem", *mine, cwd=folder)
        assert done.returncode == 0, done.stdout[-500:]
        assert done.stdout.count(": OK") == len(mine)


@pytest.mark.req("AU-1", "T27", "CA-14")
def test_what_a_crash_interrupted_before_the_switch_is_finished_by_the_same_bytes(
    hsm_template: World, tmp_path: Path
) -> None:
    world, csr = copy_world(hsm_template, tmp_path), make_request()
    crash(world, "after sign", "station", IssueDevice("wo-1", serial(1), csr))
    world.start()
    try:
        succeed(world)

        async def run() -> None:
            first = await world.ask(IssueDevice("wo-1", serial(1), csr), "station", DeviceIssued)
            again = await world.ask(IssueDevice("wo-1", serial(1), csr), "station", DeviceIssued)
            assert (first.certificate, first.chain) == (again.certificate, again.chain)
            assert issuer_of(first.certificate) == G1
            assert x509.load_pem_x509_certificates(first.chain)[0].subject.rfc4514_string().startswith(f"CN={G1}")
            fresh = await world.ask(IssueDevice("wo-1", serial(2), make_request()), "station", DeviceIssued)
            assert issuer_of(fresh.certificate) == G2
            leaves = await check_journal(world)
            mine = [leaf for leaf in leaves if leaf["type"] == "key.sign.intent" and serial(1) in str(leaf["op"])]
            assert len({leaf["op"]["digest"] for leaf in mine}) == 1

        asyncio.run(run())
    finally:
        world.stop()


@pytest.fixture
def rotating_template(templates: Templates, hsm_template: World, engine: Engine) -> World:
    """A stopped world: a pending device CA with an approved switch, a new root whose results are approved."""

    def make(path: Path) -> World:
        return copy_world(hsm_template, path / "world")

    return templates.find("rotating", engine, make, prepare_all)


async def prepare_all(world: World) -> None:
    """Everything that a crash may interrupt."""
    await world.propose("root", "ca-rotate", rotation("identity-root-2", "identity-root", days=9500))
    await world.approve("root", "plan", "bob", "carol")
    await world.ask(ExecuteStep("root", "plan"), "officer", CeremonyShown)
    await rotate(world)
    await Crls(world.room).turn()
    await prepare_switch(world)
    await world.approve("root", "results", "bob", "carol")


@pytest.mark.req("AU-1", "T27", "RO-2")
@pytest.mark.parametrize("point", ["after sign", "after T2"])
def test_a_crash_between_the_certificates_of_a_new_root(rotating_template: World, tmp_path: Path, point: str) -> None:
    """Its own certificate is the first, each link another."""
    world = copy_world(rotating_template, tmp_path)
    crash(world, point, "officer", ExecuteStep("root", "results"))
    world.start()
    try:
        assert ("identity-root-2" in list_certificates(world)) == (point == "after T2")
        asyncio.run(world.ask(ExecuteStep("root", "results"), "officer", CeremonyShown))
        known = list_certificates(world)
        assert {name for name in known if "@" in name} == {
            "identity-root-2@identity-root", "identity-root@identity-root-2",
        }  # fmt: skip
        link = known["identity-root-2@identity-root"]
        assert verify(tmp_path, link, known["identity-root"], [known["device-ca"]]) == ""
        asyncio.run(check_journal(world))
    finally:
        world.stop()


@pytest.mark.req("AU-1", "T27")
@pytest.mark.parametrize(("point", "over"), [("inside T1", False), ("before checkpoint", True)])
def test_a_crash_in_the_switch_leaves_it_undone_or_done(
    rotating_template: World, tmp_path: Path, point: str, over: bool
) -> None:
    world = copy_world(rotating_template, tmp_path)
    crash(world, point, "officer", ExecuteStep("switch", "plan"))
    world.start()
    try:

        async def run() -> None:
            issued = await world.ask(IssueDevice("wo-1", serial(1), make_request()), "station", DeviceIssued)
            assert issuer_of(issued.certificate) == (G2 if over else G1)
            answer = await execute(world, "switch", "plan")
            assert getattr(answer, "code", "closed") == ("ceremony-over" if over else "closed")
            issued = await world.ask(IssueDevice("wo-1", serial(2), make_request()), "station", DeviceIssued)
            assert issuer_of(issued.certificate) == G2
            await check_journal(world)

        asyncio.run(run())
    finally:
        world.stop()


@pytest.mark.req("AZ-4", "T25")
def test_tls_admits_stations_of_both_generations_of_their_ca(factory_world: World, tmp_path: Path) -> None:
    """What the API does with `tls_client_ca`: both generations of the service CA, and the root, in one file."""
    world, keys = factory_world, [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    first = asyncio.run(enrol(world, keys[0]))
    succeed(world, "service-ca-2", "service-ca")
    second = asyncio.run(renew(world, keys[1]))
    known = list_certificates(world)
    believed = b"".join(known[name] for name in ("service-ca", "service-ca-2", "identity-root"))
    (tmp_path / "stations.pem").write_bytes(believed)
    for key, issued in zip(keys, (first, second), strict=True):
        (tmp_path / "station.pem").write_bytes(
            issued.certificate + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        assert shake_hands(tmp_path) == x509.load_pem_x509_certificate(issued.certificate).public_bytes(Encoding.DER)
    (tmp_path / "stations.pem").write_bytes(known["service-ca"] + known["identity-root"])
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tmp_path)


async def renew(world: World, key: ec.EllipticCurvePrivateKey) -> commands.StationIssued:
    await world.ceremony("enrol-b", "station-enrol", plan_of(key, station="graz-3-b"))
    return await world.ask(commands.IssueStation("graz-3-b", make_request(key)), "", commands.StationIssued)


def shake_hands(folder: Path) -> bytes:
    """The client's certificate as a TLS server has it that believes the authorities of stations."""
    files = Authority(folder / "ca").issue("localhost", SERVER)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    server.load_verify_locations(cafile=str(folder / "stations.pem"))
    server.verify_mode = ssl.CERT_OPTIONAL
    client = ssl.create_default_context(cafile=str(files.ca))
    client.load_cert_chain(folder / "station.pem")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    there = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (here, there):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return there.getpeercert(binary_form=True) or b""
