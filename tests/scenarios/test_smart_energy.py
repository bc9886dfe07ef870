"""A work order for devices of IEEE 2030.5: from the approved plan to LFDI and SFDI, through the one door."""

import asyncio
import datetime
import hashlib
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ceremonies.commands import DeviceIssued, DevicesIssued, IssueDevice, IssueDevices, OpenCeremony, Problem
from ceremonies.commands import DeviceRequest as Item
from ceremonies.tables import DeviceRow
from pki.x509.chains import verify_chain
from tests.ceremonies.examples import order_plan, read_leaves
from tests.ceremonies.test_issuance import BAD_REQUESTS
from tests.world import ARC, CLASS, World, audit_world, issue_device, make_request, soft_keys, soft_world

ORDER = "se-1"
KIND = "certificate.ieee2030-5-device"


def answer_to(world: World, number: int, csr: bytes) -> DeviceIssued | str:
    """The certificate, or the code of the refusal."""
    answer = asyncio.run(world.try_ask(IssueDevice(ORDER, f"BMS-{number:06}", csr), "station"))
    if isinstance(answer, Problem):
        return answer.code
    assert isinstance(answer, DeviceIssued)
    return answer


@pytest.fixture
def world(factory_world: World) -> World:
    """With an order for idevid certificates, wo-1, and one for IEEE 2030.5, se-1; both name the same serials."""
    asyncio.run(factory_world.open_order(ORDER, profile="ieee2030-5-device"))
    return factory_world


@pytest.mark.req("CA-1", "CA-5", "CA-6", "CA-14")
def test_a_device_of_ieee_2030_5(world: World) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issued = answer_to(world, 7, make_request(key))
    assert isinstance(issued, DeviceIssued)
    certificate = x509.load_pem_x509_certificate(issued.certificate)
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
    assert issued.lfdi == digest[:40]
    assert int(issued.sfdi[:-1]) == int(digest[:9], 16)
    assert (len(issued.sfdi), sum(map(int, issued.sfdi)) % 10) == (12, 0)
    assert certificate.public_key() == key.public_key()
    assert not list(certificate.subject)
    [name] = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert isinstance(name, x509.OtherName)
    assert name.value.endswith(b"\x04\x0aBMS-000007")
    policies = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
    # The policy says that this world's root is one for tests.
    assert [policy.policy_identifier.dotted_string[-4:] for policy in policies] == [".1.1", ".2.1"]
    pems = [part + b"-----END CERTIFICATE-----\n" for part in issued.chain.split(b"-----END CERTIFICATE-----\n")[:-1]]
    verify_chain(issued.certificate, pems[:1], pems[1], datetime.datetime.now(datetime.UTC))
    outcome = read_leaves(world)[issued.proven.index]
    assert outcome["op"]["kind"] == KIND
    again = answer_to(world, 7, make_request(key))
    assert isinstance(again, DeviceIssued)
    assert (again.certificate, again.lfdi, again.sfdi) == (issued.certificate, issued.lfdi, issued.sfdi)
    assert again.replayed
    assert world.room.ledger.replay.quotas[ORDER].issued == 1


@pytest.mark.req("CA-14", "T2", "T15")
def test_a_serial_and_a_key_have_one_certificate_whatever_the_profile(world: World) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    plain = asyncio.run(issue_device(world, 1, make_request(key)))
    assert (plain.lfdi, plain.sfdi) == ("", "")
    assert answer_to(world, 1, make_request(key)) == "serial-taken"
    assert answer_to(world, 1, make_request()) == "serial-taken"
    assert answer_to(world, 2, make_request(key)) == "key-known"
    assert isinstance(answer_to(world, 2, make_request()), DeviceIssued)


@pytest.mark.req("CA-1", "CA-2", "T15", "T16")
def test_a_bad_request_is_refused_before_a_key_is_used(world: World) -> None:
    signed = soft_keys(world).signed
    for name, (make, code) in BAD_REQUESTS.items():
        before = world.room.ledger.journal.size
        found = answer_to(world, 3, make())
        assert found == code or (name in ("koblitz", "RSA", "Ed25519") and isinstance(found, str)), name
        (entry,) = read_leaves(world, before)
        assert (entry["type"], entry["op"]["kind"]) == ("key.sign.denied", KIND)
    assert soft_keys(world).signed == signed
    assert world.room.ledger.replay.quotas[ORDER].issued == 0


@pytest.mark.req("CA-13")
def test_a_batch_and_a_restart(world: World) -> None:
    items = tuple(Item(f"BMS-{number:06}", make_request()) for number in range(1, 9))
    answers = asyncio.run(world.ask(IssueDevices(ORDER, items), "station", DevicesIssued)).answers
    issued = [answer for answer in answers if isinstance(answer, DeviceIssued)]
    assert len({answer.lfdi for answer in issued}) == 8
    asyncio.run(audit_world(world))
    world.stop()
    world.start()  # rows are counted and compared with the journal
    assert len(world.room.store.list(DeviceRow, "serial")) == 8
    again = answer_to(world, 1, items[0].csr)
    assert isinstance(again, DeviceIssued)
    assert (again.lfdi, again.sfdi, again.replayed) == (issued[0].lfdi, issued[0].sfdi, True)


@pytest.mark.req("CA-5")
def test_an_order_needs_a_hardware_type_and_a_profile_for_orders(tmp_path: Path) -> None:
    world = soft_world(tmp_path)
    fleet = world.policy.fleet
    classes = (msgspec.structs.replace(fleet.classes[0], hw_type=""),)
    world.policy = msgspec.structs.replace(world.policy, fleet=msgspec.structs.replace(fleet, classes=classes, arc=ARC))
    world.start()
    try:
        asyncio.run(world.genesis())
        for profile, said in (
            ("ieee2030-5-device", f"class {CLASS} has no hardware type"),
            ("ldevid", "not for work orders"),
            ("station-tls", "not for work orders"),
            ("service-ca", "not for work orders"),
            ("nothing", "no profile"),
        ):
            plan = order_plan("wo-9", profile=profile)
            answer = asyncio.run(world.try_ask(OpenCeremony("order-9", "work-order", plan), "officer"))
            assert isinstance(answer, Problem)
            assert said in answer.message
    finally:
        world.stop()
