"""Answers about one certificate: good only what was issued and stands; limited, kept, counted."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from sqlalchemy import Connection

from ceremonies import statuses as module
from ceremonies.books import Partition, read_partition
from ceremonies.commands import AskStatus, KeysListed, Problem, StatusAnswered, SuspendKey
from ceremonies.desk import ANYONE, Caller
from ceremonies.revoked import RevokedRow
from ceremonies.statuses import FRESH_S, Statuses
from ceremonies.sums import Tally
from ceremonies.tables import DeviceRow
from tests.ceremonies.examples import read_leaves, write_sql
from tests.ceremonies.revoking import (
    Watch,
    ask_status,
    authority,
    issue,
    make_responder,
    open_copy,
    question,
    revoke,
)
from tests.ceremonies.templates import on_both_keys
from tests.engines import SQLITE_ONLY
from tests.pki.x509.soft_keys import make_hierarchy
from tests.pki.x509.test_revocation import issue as issue_elsewhere
from tests.world import World, soft_keys, soft_world

GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN
Status = ocsp.OCSPResponseStatus


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A stopped world with a responder of the device CA, and certificates for serials 1 and 2."""
    world = soft_world(tmp_path_factory.mktemp("answering"), SQLITE_ONLY.database()).start()
    asyncio.run(world.genesis())
    asyncio.run(world.open_order())
    asyncio.run(make_responder(world))
    issue(world, 1, 2)
    world.stop()
    return world


@pytest.fixture
def opened(answering: World, tmp_path: Path) -> Iterator[tuple[World, Watch]]:
    """A started copy of it, and its clock."""
    world, watch = open_copy(answering, tmp_path / "world")
    yield world, watch
    world.stop()


def certificate(world: World, number: int = 1) -> x509.Certificate:
    row = world.room.store.find(DeviceRow, serial=f"BMS-{number:06}")
    assert row is not None
    data = world.room.store.blob(row["certificate"])
    assert data is not None
    return x509.load_pem_x509_certificate(data)


def by_number(number: int, issuer: x509.Certificate) -> bytes:
    """A request about a number of an issuer."""
    digests = [hashes.Hash(hashes.SHA256()) for _ in range(2)]
    digests[0].update(issuer.subject.public_bytes())
    digests[1].update(issuer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
    builder = ocsp.OCSPRequestBuilder()
    builder = builder.add_certificate_by_hash(digests[0].finalize(), digests[1].finalize(), number, hashes.SHA256())
    return builder.build().public_bytes(Encoding.DER)


@pytest.mark.req("CA-9")
def test_good_revoked_and_never_unknown_as_good(opened: tuple[World, Watch]) -> None:
    world, _ = opened
    ca, mine = authority(world, "device-ca"), certificate(world)
    first = ask_status(world, question(mine, ca))
    assert (first.certificate_status, first.serial_number) == (GOOD, mine.serial_number)
    (responder,) = first.certificates
    responder.verify_directly_issued_by(ca)
    key = responder.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(first.signature, first.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))
    assert first.next_update_utc is not None
    assert (first.next_update_utc - first.this_update_utc).total_seconds() == 3600
    revoke(world, "BMS-000001")
    second = ask_status(world, question(mine, ca))
    assert (second.certificate_status, second.revocation_reason) == (REVOKED, x509.ReasonFlags.key_compromise)
    assert ask_status(world, question(certificate(world, 2), ca)).certificate_status is GOOD
    for number in (1, (1 << 158) + 5, mine.serial_number + 1):
        assert ask_status(world, by_number(number, ca)).certificate_status is UNKNOWN
    root = authority(world, "identity-root")
    assert ask_status(world, by_number(ca.serial_number, root)).response_status is Status.UNAUTHORIZED
    assert ask_status(world, by_number(ca.serial_number, ca)).certificate_status is UNKNOWN
    elsewhere = x509.load_pem_x509_certificate(issue_elsewhere(5))
    foreign = x509.load_pem_x509_certificate(make_hierarchy().device_ca.certificate)
    assert ask_status(world, question(elsewhere, foreign)).certificate_status is UNKNOWN


@pytest.mark.req("CA-9")
@on_both_keys
def test_without_a_responder_nobody_answers(factory_world: World) -> None:
    (mine,) = issue(factory_world, 1)
    ca = authority(factory_world, "device-ca")
    assert ask_status(factory_world, question(mine, ca)).response_status is Status.UNAUTHORIZED
    asyncio.run(make_responder(factory_world))
    assert ask_status(factory_world, question(mine, ca)).certificate_status is GOOD
    asyncio.run(factory_world.ask(SuspendKey("ocsp-1", "stolen"), "officer", KeysListed))
    assert ask_status(factory_world, question(certificate(factory_world), ca, b"n")).response_status is (
        Status.UNAUTHORIZED
    )


def test_a_nonce_comes_back(opened: tuple[World, Watch]) -> None:
    world, _ = opened
    request = question(certificate(world), authority(world, "device-ca"), b"n" * 32)
    answers = [ask_status(world, request) for _ in range(2)]
    nonces = {item.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce for item in answers}
    assert nonces == {b"n" * 32}
    assert answers[0].signature != answers[1].signature, "an answer with a nonce was kept"


@pytest.mark.req("T25")
@pytest.mark.parametrize("data", [b"", b"0", b"\x30\x00", bytes(2000)], ids=range(4))
def test_garbage_is_malformed(opened: tuple[World, Watch], data: bytes) -> None:
    assert ask_status(opened[0], data).response_status is Status.MALFORMED_REQUEST


def test_an_answer_is_kept_until_something_changes_or_half_of_its_life(opened: tuple[World, Watch]) -> None:
    world, watch = opened
    ca, mine = authority(world, "device-ca"), certificate(world)
    request = question(mine, ca)
    first = ask_status(world, request).signature
    assert ask_status(world, request).signature == first
    watch.go_on(1801)
    second = ask_status(world, request).signature
    assert second != first
    revoke(world, "BMS-000001")
    assert ask_status(world, request).certificate_status is REVOKED
    answer = asyncio.run(world.ask(AskStatus(request), "", StatusAnswered))
    assert answer.seconds == FRESH_S


def ask_each(world: World, *requests: bytes) -> tuple[Statuses, list[Status]]:
    """What one instance answers to requests, one after the other."""
    statuses, caller = Statuses(world.room), Caller(ANYONE)

    async def run() -> list[StatusAnswered]:
        return [await statuses.answer(AskStatus(request), caller) for request in requests]

    answers = asyncio.run(run())
    return statuses, [ocsp.load_der_ocsp_response(item.response).response_status for item in answers]


@pytest.mark.req("T25")
def test_strangers_cannot_have_more_signed_than_the_limit(
    opened: tuple[World, Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _ = opened
    now = world.around.now_us()
    monkeypatch.setattr(Statuses, "_now", lambda _: now // 1_000_000)
    monkeypatch.setattr(module, "LIMITS", {**module.LIMITS, "asked": 6, "known": 2, "unknown": 1})
    ca = authority(world, "device-ca")
    known = question(certificate(world), ca)
    nonced = [question(certificate(world), ca, bytes([n])) for n in range(2)]
    unknown = [by_number((1 << 100) + n, ca) for n in range(3)]
    before = soft_keys(world).signed_by["ocsp-1"]
    _, found = ask_each(world, *unknown, known, *nonced, known, *nonced)
    well, later = Status.SUCCESSFUL, Status.TRY_LATER
    assert found == [well, later, later, well, well, later, well, later, later]
    assert soft_keys(world).signed_by["ocsp-1"] - before == 3
    assert world.room.counters["ocsp_refused"] == 5


@pytest.mark.req("T25")
def test_strangers_cannot_have_more_rows_read_than_the_limit(
    opened: tuple[World, Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever knows a certificate of each partition could have them read again and again, before anything is signed."""
    world, _ = opened
    now = world.around.now_us()
    monkeypatch.setattr(Statuses, "_now", lambda _: now // 1_000_000)
    monkeypatch.setattr(module, "LIMITS", {**module.LIMITS, "rows": 1})
    monkeypatch.setattr(module, "BOOKS_KEPT", 1)
    ca = authority(world, "device-ca")
    one, others = certificate(world), issue(world, *range(3, 9))
    other = next(item for item in others if item.serial_number >> 153 != one.serial_number >> 153)
    nonced = [question(item, ca, b"n") for item in (one, other)]
    for item in (one, other):
        revoke(world, number=f"{item.serial_number:x}")
    read: list[Partition] = []

    def read_counted(connection: Connection, at: Partition, expected: Tally) -> Sequence[RevokedRow]:
        read.append(at)
        return read_partition(connection, at, expected)

    monkeypatch.setattr(module, "read_partition", read_counted)
    _, found = ask_each(world, *(nonced * 2))
    assert (len(read), found) == (1, [Status.SUCCESSFUL, Status.TRY_LATER] * 2)


def test_what_is_kept_is_bounded(opened: tuple[World, Watch], monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = opened
    monkeypatch.setattr(module, "KEPT", 1)
    monkeypatch.setattr(module, "BOOKS_KEPT", 1)
    ca = authority(world, "device-ca")
    statuses, _ = ask_each(world, *(question(certificate(world, n), ca) for n in (1, 2, 1)))
    assert (len(statuses._kept), len(statuses._books)) == (1, 1)


@pytest.mark.req("HS-4", "AU-1")
def test_answers_are_counted_in_one_entry(opened: tuple[World, Watch]) -> None:
    world, _ = opened
    ca = authority(world, "device-ca")
    statuses, _ = ask_each(world, question(certificate(world), ca), question(certificate(world), ca), by_number(5, ca))
    size = world.room.ledger.journal.size
    asyncio.run(statuses.record())
    asyncio.run(statuses.record())
    (leaf,) = read_leaves(world, size)
    assert leaf["type"] == "certificate.status"
    assert leaf["op"]["what"] == {"responders": [{"good": 1, "label": "ocsp-1", "unknown": 1}]}


@pytest.mark.req("T5", "CA-9")
def test_a_lost_revocation_is_no_good_answer(opened: tuple[World, Watch]) -> None:
    world, _ = opened
    ca, mine = authority(world, "device-ca"), certificate(world)
    revoke(world, "BMS-000001")
    write_sql(world, "DELETE FROM revocation")
    answer = asyncio.run(world.try_ask(AskStatus(question(mine, ca))))
    assert isinstance(answer, Problem)
    assert answer.code == "journal-forked"


def test_a_responder_at_its_end_answers_no_more(opened: tuple[World, Watch]) -> None:
    world, watch = opened
    ca = authority(world, "device-ca")
    watch.go_on(30 * 86_400 - 600)
    answer = ask_status(world, question(certificate(world), ca))
    assert answer.next_update_utc is not None
    assert (answer.next_update_utc - answer.this_update_utc).total_seconds() <= 600
    watch.go_on(601)
    assert ask_status(world, question(certificate(world), ca)).response_status is Status.UNAUTHORIZED
