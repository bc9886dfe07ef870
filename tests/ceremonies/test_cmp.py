"""Messages of CMP at the desk: same rules and entries as every other way in, and whatever hostile senders try."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from ceremonies import commands
from ceremonies.cmp import read_intermediates
from ceremonies.commands import CertificateShown, CmpAnswered, ConfirmDevice, DeviceIssued, Problem
from ceremonies.transactions import WINDOW_S
from pki.cmp.replies import GRANTED_WITH_MODS
from pki.x509.confirmations import confirmed_bytes, hash_chain
from pki.x509.der import SEQUENCE, write_element
from tests.api.est_requests import make_est_request
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.messaging import CP, ERROR, GENP, IP, KUP, PKI_CONF, Messaging, make_station
from tests.ceremonies.revoking import authority
from tests.ceremonies.rotating import rotate
from tests.pki.cmp.writing import (
    IMPLICIT,
    Sender,
    acknowledge,
    ask_certificate,
    ask_information,
    ask_revocation,
    make_sender,
    name_old,
    octets,
    tag,
    write_message,
)
from tests.world import World, audit_world

KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
SERIAL = "BMS-000001"


def seen(world: World, start: int) -> list[tuple[str, str]]:
    """(type, kind or command) of the entries from an index on."""
    leaves = [leaf for leaf in read_leaves(world, start) if not leaf["type"].startswith("log.")]
    return [(leaf["type"], leaf["op"]["what"].get("command", leaf["op"].get("kind", ""))) for leaf in leaves]


def size(world: World) -> int:
    return int(world.room.ledger.journal.size)


@pytest.mark.req("CA-11", "CA-14")
def test_every_way_in_gives_the_same_certificate_and_the_same_entries(messaging: Messaging) -> None:
    world, before = messaging.world, size(messaging.world)
    first = messaging.ask(ask_certificate(SERIAL, KEY))
    assert (first.tag, first.status) == (IP, (GRANTED_WITH_MODS, ""))
    assert seen(world, before) == [
        ("key.sign.intent", "certificate.idevid"),
        ("key.sign.outcome", "certificate.idevid"),
    ]
    leaf = read_leaves(world, before)[1]
    assert (leaf["actor"]["sub"], leaf["actor"]["role"], leaf["actor"]["src"]) == ("graz-3-a", "station", "192.0.2.7")
    parsed = x509.load_der_x509_certificate(first.certificate)
    parsed.verify_directly_issued_by(authority(world, "device-ca"))
    for number, body, expected in (
        (1, ask_certificate(SERIAL, KEY, 2), CP),
        (2, tag(4, make_est_request(SERIAL, key=KEY)), CP),
        (3, ask_certificate(SERIAL, KEY, 7, name_old(first.certificate)), KUP),
    ):
        again = messaging.ask(body, number)
        assert (again.tag, again.certificate) == (expected, first.certificate)
    est = commands.EnrolDevice("device-ca", SERIAL, make_est_request(SERIAL, key=KEY))
    issued = asyncio.run(world.ask(est, "station", DeviceIssued))
    assert issued.replayed
    assert x509.load_pem_x509_certificate(issued.certificate) == parsed
    assert world.room.ledger.replay.quotas["wo-1"].issued == 1
    assert asyncio.run(audit_world(world)).verdict == "authenticated"


@pytest.mark.req("CA-11")
def test_the_answer_brings_the_responders_chain_and_the_certificates(messaging: Messaging) -> None:
    answer = messaging.ask(ask_certificate(SERIAL, KEY))
    names = [item.subject.rfc4514_string() for item in answer.certificates]
    assert names == ["CN=device-ca CMP,O=Acme Storage", "CN=Acme Device CA G1,O=Acme Storage"]
    answer.certificates[0].verify_directly_issued_by(answer.certificates[1])
    ski = answer.certificates[0].extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert answer.header[2] == octets(ski)


@pytest.mark.req("CA-11")
def test_a_confirmation_is_judged_by_the_journal_whoever_reads_it(messaging: Messaging) -> None:
    world = messaging.world
    given = messaging.ask(ask_certificate(SERIAL, KEY))
    world.stop()
    world.start()  # nothing was kept in memory
    before = size(world)
    fields = {6: given.nonce}
    confirmed = messaging.ask(acknowledge(given.certificate), fields=fields)
    assert (confirmed.tag, confirmed.body) == (PKI_CONF, b"\x05\0")
    assert seen(world, before) == [("export", "acknowledge-certificate")]
    assert read_leaves(world, before)[0]["op"]["what"]["accepted"] is True
    assert messaging.refuse(messaging.write(acknowledge(given.certificate), fields)) == "message-replayed"
    assert world.room.ledger.replay.units.orders["wo-1"].unconfirmed == 1, "only the unit's own signature confirms it"


def test_a_certificate_that_is_not_accepted_stays_unconfirmed(messaging: Messaging) -> None:
    given, before = messaging.ask(ask_certificate(SERIAL, KEY)), size(messaging.world) - 1
    answer = messaging.ask(acknowledge(given.certificate, 2), fields={6: given.nonce})
    assert answer.tag == PKI_CONF
    assert read_leaves(messaging.world, before)[-1]["op"]["what"]["accepted"] is False


@pytest.mark.req("T19")
def test_confirmations_of_something_else(messaging: Messaging) -> None:
    given, other = (
        messaging.ask(ask_certificate(SERIAL, KEY), 1),
        messaging.ask(ask_certificate("BMS-000002", OTHER), 2),
    )
    cases: Sequence[tuple[int, bytes, bytes, str]] = (
        (1, other.certificate, given.nonce, "chain-mismatch"),
        (2, given.certificate, given.nonce, "message-unexpected"),
        (3, given.certificate, given.nonce, "message-unexpected"),
        (4, given.certificate, octets(bytes(32)), "message-unexpected"),
        (5, given.certificate, octets(b"\xff" * 32), "message-unexpected"),
        (6, given.certificate, octets(b"short"), "message-unexpected"),
    )
    for number, certificate, nonce, code in cases:
        answer = messaging.ask(acknowledge(certificate), number, fields={6: nonce})
        assert (answer.tag, answer.code) == (ERROR, code)
    missing = messaging.ask(acknowledge(given.certificate), 7)
    assert missing.code == "message-unexpected"


@pytest.mark.req("CA-11")
def test_no_confirmation_is_waited_for_when_none_was_wanted(messaging: Messaging) -> None:
    info = write_element(SEQUENCE, IMPLICIT)
    assert 8 in messaging.ask(ask_certificate(SERIAL, KEY), fields={8: info}).header
    assert 8 not in messaging.ask(ask_certificate(SERIAL, KEY), 1).header


@pytest.mark.req("CA-11")
def test_the_nonce_of_every_answer_is_fresh(messaging: Messaging) -> None:
    """RFC 9483 section 3.1: 128 random bits; also where the same is asked twice and the same certificate comes."""
    granted, refused = ask_certificate(SERIAL, KEY), ask_certificate(SERIAL, OTHER)
    bodies = (granted, granted, refused, acknowledge(bytes(32)), ask_information("1.3.6.1.5.5.7.4.17"))
    nonces = [messaging.ask(body, number).nonce for number, body in enumerate(bodies, 1)]
    messaging.world.stop()
    messaging.world.start()
    nonces.append(messaging.ask(granted, 1).nonce)  # once more in the first transaction
    assert {len(nonce) - 2 for nonce in nonces} == {16, 32}
    assert len({half for nonce in nonces for half in (nonce[2:10], nonce[10:18])}) == 2 * len(nonces)


@pytest.mark.req("CA-13", "CA-14")
def test_refusals_are_the_ones_of_every_other_way_in_and_are_signed(messaging: Messaging) -> None:
    given = messaging.ask(ask_certificate(SERIAL, KEY), 1).certificate
    device_ca = authority(messaging.world, "device-ca").public_bytes(Encoding.DER)
    cases = (
        (ask_certificate(SERIAL, OTHER), "serial-taken", IP),
        (ask_certificate("BMS-000002", KEY), "key-known", IP),
        (ask_certificate("BMS-000001", KEY, 7, name_old(device_ca)), "certificate-unknown", KUP),
        (ask_certificate("BMS-000003", OTHER, 7, name_old(given)), "certificate-unknown", KUP),
        (tag(4, make_est_request("BMS-000002", key=KEY)[:-1] + b"\0"), "proof-of-possession-failed", CP),
    )  # fmt: skip
    for number, (body, code, expected) in enumerate(cases, 2):
        before = size(messaging.world)
        answer = messaging.ask(body, number)
        assert (answer.tag, answer.code) == (expected, code)
        assert len(seen(messaging.world, before)) == 1, "every refusal is an entry"
    counters = messaging.world.room.counters
    assert (counters["cloned_keys"], counters["refusals_enrol-device"]) == (1, 5), "what the alarm looks at"
    site = messaging.ask(ask_certificate("BMS-000003", OTHER), 9, authority="site-ca")
    assert site.code == "work-order-unknown"


@pytest.mark.req("CA-14")
def test_what_was_taken_back_and_a_ca_that_is_stopped_are_refusals_of_the_protocol(messaging: Messaging) -> None:
    given = messaging.ask(ask_certificate(SERIAL, KEY), 1).certificate
    messaging.ask(ask_revocation(given), 2)
    assert messaging.ask(ask_certificate(SERIAL, KEY), 3).code == "certificate-withdrawn"
    stop = commands.SuspendKey("device-ca", "a drill")
    asyncio.run(messaging.world.ask(stop, "officer", commands.KeysListed))
    assert messaging.ask(ask_certificate("BMS-000002", OTHER), 4).code == "key-not-active"
    messaging.world.room.cache.clear()
    assert messaging.ask(ask_certificate("BMS-000002", OTHER), 5).code == "authority-unavailable"


@pytest.mark.req("RO-2", "KL-9")
def test_a_root_that_was_stopped_is_nobodys_next_root(messaging: Messaging) -> None:
    world, old = messaging.world, authority(messaging.world, "identity-root").public_bytes(Encoding.DER)
    assert messaging.watch is not None
    messaging.watch.go_on(60)
    asyncio.run(rotate(world, "identity-root-2", "identity-root", days=9500))
    new = authority(world, "identity-root-2").public_bytes(Encoding.DER)
    following, chain = ask_information("1.3.6.1.5.5.7.4.20", old), ask_information("1.3.6.1.5.5.7.4.17")
    assert new in messaging.ask(following, 1).body
    asyncio.run(world.ask(commands.SuspendKey("identity-root-2", "stolen?"), "officer", commands.KeysListed))
    assert new not in messaging.ask(following, 2).body
    asyncio.run(world.ceremony("resume", "resume", {"labels": ["identity-root-2"], "reason": "over"}))
    assert new in messaging.ask(following, 3).body
    number = f"{x509.load_der_x509_certificate(new).serial_number:040x}"
    plan = {"reason": "cACompromise", "why": "stolen", "numbers": [number]}
    asyncio.run(world.ceremony("revoke", "revoke", plan))
    assert new not in messaging.ask(following, 4).body
    assert new not in messaging.ask(chain, 5).body
    shown = messaging.ask(ask_information("1.3.6.1.5.5.7.4.20", new), 6)
    assert shown.body.hex() == "300c300a06082b06010505070412", "and the one before it follows nobody"


@pytest.mark.req("CA-14", "AZ-4")
def test_three_strange_requests_suspend_whoever_signs(messaging: Messaging) -> None:
    assert messaging.watch is not None
    messaging.watch.go_on(WINDOW_S + 1)  # just after a start it may be somebody else who says them again
    for number in (1, 2, 3):
        assert messaging.ask(ask_certificate("BMS-999999", KEY), number).code == "serial-not-in-order"
    pace = messaging.world.room.ledger.replay.paces.stations["graz-3-a"]
    assert (pace.refusal, sum(pace.refused.tens.values())) == ("serial-not-in-order", 3), "the screen shows them"
    before = size(messaging.world)
    assert messaging.ask(ask_certificate(SERIAL, KEY), 4).code == "station-suspended"
    assert seen(messaging.world, before) == [("auth.fail", "enrol-device")]


@pytest.mark.req("AZ-4")
def test_a_revoked_station_and_one_whose_certificate_ended(messaging: Messaging) -> None:
    world = messaging.world
    assert messaging.watch is not None
    stop = commands.RevokeStation("graz-3-a", "stolen")
    asyncio.run(world.ask(stop, "officer", commands.StationsListed))
    assert messaging.refuse(messaging.write(ask_certificate(SERIAL, KEY))) == "station-revoked"
    messaging.watch.go_on(29 * 86400)
    other = asyncio.run(make_station(world, "graz-3-b"))
    messaging.watch.go_on(31 * 86400)
    assert messaging.refuse(messaging.write(ask_certificate(SERIAL, KEY), sender=other)) == "client-certificate-expired"


@pytest.mark.req("AZ-4")
def test_a_station_of_another_place_gets_nothing_here(messaging: Messaging) -> None:
    world = messaging.world
    elsewhere = asyncio.run(make_station(world, "linz-1", plant="linz"))
    assert messaging.ask(ask_certificate(SERIAL, KEY), 1, elsewhere).code == "serial-not-in-order"
    near = asyncio.run(make_station(world, "graz-3-c", addresses=["198.51.100.0/24"]))
    assert messaging.ask(ask_certificate(SERIAL, KEY), 2, near).code == "address-refused"
    assert messaging.ask(ask_certificate(SERIAL, KEY), 3, near, source="198.51.100.9").tag == IP


@pytest.mark.req("AZ-5", "T25")
def test_who_is_nobody_has_no_key_used_and_no_entry_but_the_gathered_one(messaging: Messaging) -> None:
    world, before = messaging.world, size(messaging.world)
    stranger = make_sender()
    copied = make_sender(stranger.key)  # another certificate for a key of theirs
    cases = (
        (messaging.write(ask_certificate(SERIAL, KEY), sender=stranger), "client-certificate-unknown"),
        (messaging.write(ask_certificate(SERIAL, KEY), sender=copied), "client-certificate-unknown"),
        (write_message(None, ask_certificate(SERIAL, KEY)), "message-unprotected"),
        (messaging.write(ask_certificate(SERIAL, KEY), {2: octets(b"x" * 20)}), "message-forged"),
        (b"0", "message-malformed"),
        (messaging.write(tag(23, b"\x30\0")), "message-unsupported"),
    )
    for message, code in cases:
        assert messaging.refuse(message) == code
    stolen = messaging.station.certificate
    forged = messaging.write(ask_certificate(SERIAL, KEY), sender=stranger).replace(stranger.certificate, stolen)
    assert messaging.refuse(forged) == "message-malformed"  # its length
    assert messaging.refuse(messaging.write(ask_certificate(SERIAL, KEY)), authority="vpn") == "key-unknown"
    assert size(world) == before
    assert "cmp_signed" not in world.room.counters
    asyncio.run(world.desk.record_suppressed())
    (leaf,) = read_leaves(world, before)
    assert (leaf["type"], leaf["op"]["what"]["count"]) == ("suppressed", 8)


@pytest.mark.req("T19", "T25")
def test_a_message_counts_once_and_only_near_its_time(messaging: Messaging) -> None:
    message = messaging.write(ask_certificate(SERIAL, KEY))
    assert isinstance(messaging.transact(message), CmpAnswered)
    signed = messaging.world.room.counters["cmp_signed"]
    assert messaging.refuse(message) == "message-replayed"
    assert messaging.refuse(messaging.write(ask_information("1.3.6.1.5.5.7.4.17"))) == "message-replayed"
    for time in (datetime(2026, 1, 1, tzinfo=UTC), datetime(2046, 1, 1, tzinfo=UTC)):
        late = write_message(messaging.station, ask_certificate(SERIAL, KEY), {4: octets(b"z" * 16)}, time)
        assert messaging.refuse(late) == "message-untimely"
    timeless = messaging.write(ask_certificate(SERIAL, KEY), {0: None})
    assert messaging.refuse(timeless) == "message-untimely"
    assert messaging.world.room.counters["cmp_signed"] == signed, "no key is used for what came before"


@pytest.mark.req("T3", "T19")
def test_what_was_heard_before_a_restart_says_nothing_about_the_station(messaging: Messaging) -> None:
    """Whoever heard a station's messages says them again to a keyroom that knows them no more, from elsewhere."""
    world, watch = messaging.world, messaging.watch
    assert watch is not None
    strange = [{4: octets(bytes((number,)) * 16)} for number in range(3)]
    heard = [messaging.write(ask_certificate("BMS-999999", KEY), fields) for fields in strange]
    for message in heard:
        assert isinstance(messaging.transact(message), CmpAnswered)
        messaging.ask(ask_certificate(SERIAL, KEY), size(world))  # what is done well in between
    world.stop()
    world.start()
    own = 100
    for message in heard:
        for source in ("198.51.100.6", "192.0.2.7"):
            own += 1
            if source == "192.0.2.7":
                assert messaging.ask(ask_certificate(SERIAL, KEY), own, source=source).tag == IP
            else:
                assert isinstance(messaging.transact(message, source=source), CmpAnswered)
    assert world.room.ledger.replay.stations.suspended == {}
    watch.go_on(WINDOW_S + 1)  # from now on no message of before would do
    for number, source in enumerate(("192.0.2.7", "198.51.100.6"), 200):
        assert messaging.ask(ask_certificate(SERIAL, KEY), number, source=source).tag == IP
    assert messaging.ask(ask_certificate(SERIAL, KEY), 300).code == "station-suspended"


@pytest.mark.req("T3", "T19", "T25")
def test_a_flood_of_a_station_ends_as_everywhere(messaging: Messaging) -> None:
    """And who heard what was too fast cannot say it later, from elsewhere, so that the station is suspended."""
    assert messaging.watch is not None
    messaging.watch.go_on(WINDOW_S + 1)
    assert messaging.ask(ask_certificate(SERIAL, KEY), 1).tag == IP
    watched = messaging.world.room.vigilance._find("graz-3-a")
    watched.spare = -1_000_000_000
    heard = messaging.write(ask_certificate(SERIAL, KEY))
    answer = messaging.transact(heard)
    assert isinstance(answer, Problem)
    assert (answer.code, "retry_after" in answer.details) == ("station-too-fast", True)
    watched.spare = 1_000_000_000
    assert messaging.refuse(heard, source="198.51.100.6") == "message-replayed"
    assert messaging.ask(ask_certificate(SERIAL, KEY), 2).tag == IP


@pytest.mark.req("T19", "T25")
def test_what_a_station_signs_counts_whatever_it_says_and_what_others_send_does_not(messaging: Messaging) -> None:
    messaging.ask(ask_certificate(SERIAL, KEY), 1)
    watched, room = messaging.world.room.vigilance._find("graz-3-a"), messaging.world.room
    room.vigilance._rate = 1  # it fills by one a second
    forged = messaging.write(ask_certificate(SERIAL, KEY), sender=Sender(OTHER, messaging.station.certificate))
    heard = messaging.write(tag(0, b"\x30\0"), {4: octets(b"y" * 16)})
    watched.spare = 3_500_000
    assert messaging.refuse(heard) == "message-malformed", "no request in it"
    assert 2_000_000 < watched.spare < 3_000_000
    before = watched.spare
    for _ in range(5):  # a stranger, with what is on the wire
        assert messaging.refuse(heard) == "message-replayed"
        assert messaging.refuse(forged) == "message-forged"
    assert watched.spare == before
    malformed = [messaging.write(tag(0, b"\x30\0"), {4: octets(bytes((number,)) * 16)}) for number in range(4)]
    assert [messaging.refuse(message) for message in malformed][-1] == "station-too-fast"


@pytest.mark.req("CA-11")
def test_general_messages(messaging: Messaging) -> None:
    world = messaging.world
    device_ca, root = (authority(world, label).public_bytes(Encoding.DER) for label in ("device-ca", "identity-root"))
    before = size(world)
    listed = messaging.ask(ask_information("1.3.6.1.5.5.7.4.17"), 1)
    assert listed.tag == GENP
    assert listed.body.endswith(device_ca + root)
    assert seen(world, before) == [("export", "ask-authorities")]
    update = messaging.ask(ask_information("1.3.6.1.5.5.7.4.20", root), 2)
    assert update.body.hex() == "300c300a06082b06010505070412", "nothing follows it yet"
    template = messaging.ask(ask_information("1.3.6.1.5.5.7.4.19"), 3)
    assert template.tag == GENP
    assert messaging.ask(ask_information("1.3.6.1.5.5.7.4.2"), 4).code == "message-unsupported"


@pytest.mark.req("CA-13")
def test_another_key_needs_a_permit_here_too(messaging: Messaging) -> None:
    """kur, then: the old certificate is revoked in the same moment, and is no present one any more."""
    world = messaging.world
    asyncio.run(world.open_order("wo-9", serials=["BMS-000090"], quantity=1, rework_quantity=1))
    old = messaging.ask(ask_certificate("BMS-000090", KEY), 1).certificate
    update = ask_certificate("BMS-000090", OTHER, 7, name_old(old))
    assert messaging.ask(update, 2).code == "serial-taken"
    permit = commands.PermitRework("wo-9", "BMS-000090", "module replaced")
    asyncio.run(world.ask(permit, "operator", commands.ReworkPermitted))
    new = messaging.ask(update, 3)
    assert (new.tag, new.certificate == old) == (KUP, False)
    number = f"{x509.load_der_x509_certificate(old).serial_number:x}"
    shown = asyncio.run(world.ask(commands.ShowCertificate(number=number), "officer", CertificateShown))
    assert shown.status == "revoked"
    assert messaging.ask(update, 4).code == "certificate-unknown"


def test_a_unit_that_was_certified_here_confirms_as_every_other(messaging: Messaging) -> None:
    world = messaging.world
    messaging.ask(ask_certificate(SERIAL, KEY))
    est = commands.IssueDevice("wo-1", SERIAL, make_est_request(SERIAL, key=KEY))
    held = asyncio.run(world.ask(est, "station", DeviceIssued))
    digest = hash_chain(held.certificate, held.chain)
    signature = KEY.sign(confirmed_bytes(bytes.fromhex(held.nonce), digest), ec.ECDSA(SHA256()))
    confirm = ConfirmDevice("wo-1", SERIAL, digest, signature)
    asyncio.run(world.ask(confirm, "station", commands.DeviceConfirmed))
    assert world.room.ledger.replay.units.orders["wo-1"].built == 1


def test_intermediates_are_not_roots(messaging: Messaging) -> None:
    world = messaging.world
    chain = [authority(world, label) for label in ("device-ca", "identity-root")]
    pem = b"".join(item.public_bytes(Encoding.PEM) for item in chain)
    assert read_intermediates(pem) == [chain[0].public_bytes(Encoding.DER)]
