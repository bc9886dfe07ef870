"""What is answered, octet by octet where it is short; openssl and pyasn1 read the rest (tests/scenarios, interop)."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pki.cmp import replies
from pki.cmp.messages import Header, parse_header
from pki.cmp.replies import Reply, Signer, Stamp, assemble_answer, write_answer, write_unsigned_error
from pki.signatures import der_to_raw
from pki.x509.der import SEQUENCE, content, read_children, read_whole, tags, whole
from pki.x509.errors import AssemblyFailed
from tests.pki.cmp.writing import ECDSA_SHA256, NONCE, TRANSACTION, ask_information, make_sender, octets, write_message

SENDER, RESPONDER = make_sender(), make_sender(name="responder")
ASKED: Header = parse_header(write_message(SENDER, ask_information("1.3.6.1.5.5.7.4.17")))
STAMP = Stamp(datetime(2026, 11, 23, 7, 8, 9, tzinfo=UTC), b"a" * 32)


def make_signer() -> Signer:
    return Signer(RESPONDER.parsed.subject.public_bytes(), b"k" * 20, ECDSA_SHA256, RESPONDER.certificate)


def finish(reply: Reply) -> bytes:
    part = write_answer(ASKED, reply, make_signer(), STAMP)
    raw = der_to_raw(RESPONDER.key.sign(part, ec.ECDSA(hashes.SHA256())), 32)
    return assemble_answer(part, raw, (RESPONDER.certificate, *reply.certificates))


@pytest.mark.req("CA-11")
def test_an_answer_is_in_the_transaction_and_signed_by_the_responder() -> None:
    der = finish(Reply(replies.confirm(), (SENDER.certificate,)))
    header, body, protection, extra = read_children(der, read_whole(der, SEQUENCE))
    read = parse_header(der)
    assert (read.transaction, read.answered, read.nonce, read.version) == (TRANSACTION, NONCE, STAMP.nonce, 2)
    assert (read.time, read.key, read.algorithm, read.implicit) == (1_795_417_689, b"k" * 20, ECDSA_SHA256, False)
    assert read.sender == b"\xa4" + bytes((len(make_signer().subject),)) + make_signer().subject
    assert whole(der, body) == bytes.fromhex("b3020500")
    bits = content(der, read_children(der, protection)[0])
    signed = der[header[1] : body[3]]
    key = RESPONDER.parsed.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(bits[1:], b"\x30\x81" + bytes((len(signed),)) + signed, ec.ECDSA(hashes.SHA256()))
    shown = read_children(der, read_children(der, extra)[0])
    assert [whole(der, item) for item in shown] == [RESPONDER.certificate, SENDER.certificate]


def test_no_confirmation_is_waited_for_when_none_was_wanted() -> None:
    assert parse_header(finish(Reply(replies.confirm(), implicit=True))).implicit


@pytest.mark.parametrize(("kind", "number"), [("ir", 0xA1), ("cr", 0xA3), ("p10cr", 0xA3), ("kur", 0xA8)])
def test_certificates_and_their_refusal(kind: str, number: int) -> None:
    identifier = "0201ff" if kind == "p10cr" else "020100"
    for modified, status in ((True, "3003020101"), (False, "3003020100")):
        body = replies.grant_certificate(kind, SENDER.certificate, modified=modified)
        assert body[0] == number
        assert bytes.fromhex(identifier + status) in body
        assert body.endswith(SENDER.certificate)
    refused = replies.refuse(kind, 9, "no")
    words = "0c026e6f"
    info = f"020102{'3004' + words}{'0303060040'}"
    inner = f"{identifier}30{len(info) // 2:02x}{info}"
    assert refused.hex().endswith(inner)
    assert refused[0] == number


@pytest.mark.parametrize(
    ("failure", "bits"), [(0, "03020780"), (1, "03020640"), (7, "03020001"), (8, "0303070080"), (26, "03050500000020")]
)
def test_a_failure_is_one_bit_of_a_named_bit_list(failure: int, bits: str) -> None:
    """X.690 section 11.2.2: no zero bits at the end."""
    assert replies.write_status(failure, "").hex().endswith(bits)


def test_words_are_cut() -> None:
    assert len(replies.write_status(1, "ä" * 1000)) < 430


def test_what_is_refused_otherwise_is_an_error() -> None:
    assert replies.refuse("rr", 4, "no").hex() == "ac13" + "3011" + "300f" + "300d020102" + "30040c026e6f" + "03020308"
    for kind in ("certConf", "genm"):
        assert replies.refuse(kind, 13, "no") == replies.write_error(13, "no")
    assert replies.write_error(13, "no")[0] == 0xB7


def test_revocations_and_information() -> None:
    assert replies.confirm_revocation().hex() == "ac09300730053003020100"
    listed = replies.list_authorities([SENDER.certificate, RESPONDER.certificate])
    assert listed[0] == 0xB6
    assert listed.endswith(SENDER.certificate + RESPONDER.certificate)
    assert replies.update_root(b"", b"", b"").hex() == "b60e300c300a06082b06010505070412"
    both = replies.update_root(b"\x30\0", b"\x30\0", b"\x30\0")
    assert both.hex().endswith("300a3000a0023000a1023000")
    assert replies.update_root(b"\x30\0", b"", b"\x30\0").hex().endswith("30063000a1023000")
    assert replies.describe_request().hex().endswith("301306072a8648ce3d020106082a8648ce3d030107")


def test_an_error_for_a_stranger_is_not_signed() -> None:
    der = write_unsigned_error(ASKED, 20, "who?")
    parts = read_children(der, read_whole(der, SEQUENCE))
    assert tags(parts) == [SEQUENCE, 0xB7]
    fields = read_children(der, parts[0])
    assert tags(fields[3:]) == [0xA4, 0xA6]
    assert content(der, fields[4]) == octets(NONCE)


def test_what_does_not_read_back_does_not_leave() -> None:
    for part in (b"\x30\0", b"", b"\x30\x05\x02\x01\0"):
        with pytest.raises((AssemblyFailed, ValueError)):
            assemble_answer(part, bytes(63) + b"\x01", ())
