"""Headers and the parts of messages: what openssl sends is read, and nothing that is not strict DER."""

from datetime import UTC, datetime

import pytest

from pki.cmp.errors import MessageMalformed, MessageUnsupported
from pki.cmp.messages import LIMIT, parse_header, parse_message
from pki.x509.der import INTEGER, OCTET_STRING, SEQUENCE, write_element
from tests.pki.cmp.vectors import MESSAGES
from tests.pki.cmp.writing import (
    IMPLICIT,
    NOBODY,
    NONCE,
    TRANSACTION,
    ask_information,
    make_sender,
    octets,
    tag,
    write_header,
    write_message,
)

BODY = ask_information("1.3.6.1.5.5.7.4.17")
SENDER = make_sender()
AT = datetime(2026, 11, 23, 7, 8, 9, tzinfo=UTC)


@pytest.mark.req("CA-11")
@pytest.mark.parametrize("name", MESSAGES)
def test_what_openssl_sends_is_read(name: str) -> None:
    message = parse_message(MESSAGES[name])
    assert message.kind == name.split(maxsplit=1)[0]
    assert message.header == parse_header(MESSAGES[name])
    assert (len(message.header.transaction), len(message.header.nonce)) == (16, 16)
    assert message.header.time > 1_700_000_000
    assert message.header.implicit == (name == "ir implicit")
    assert bool(message.protection) == bool(message.certificates) == (name != "ir unprotected")


def test_the_fields_of_a_header() -> None:
    header = parse_header(write_message(SENDER, BODY, {6: octets(b"r" * 16), -1: b"\x03"}, AT))
    assert (header.version, header.transaction, header.nonce, header.answered) == (3, TRANSACTION, NONCE, b"r" * 16)
    assert datetime.fromtimestamp(header.time, UTC) == AT
    bare = parse_header(write_element(SEQUENCE, write_header(None, None)))
    assert (bare.sender, bare.time, bare.algorithm, bare.key, bare.answered) == (NOBODY, -1, b"", b"", b"")


def test_generalinfo_may_say_other_things_too() -> None:
    other = write_element(SEQUENCE, bytes.fromhex("06082b0601050507040e"), write_element(0x18, b"20261123070809Z"))
    for items, implicit in (((other,), False), ((other, IMPLICIT), True), ((), False)):
        given = {8: write_element(SEQUENCE, *items)}
        assert parse_header(write_message(SENDER, BODY, given)).implicit == implicit


@pytest.mark.req("T19")
@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({-1: b"\x01"}, MessageUnsupported),
        ({-1: b"\x04"}, MessageUnsupported),
        ({-1: b"\x00\x02"}, MessageUnsupported),
        ({-1: b""}, MessageUnsupported),
        ({4: None}, MessageMalformed),
        ({5: None}, MessageMalformed),
        ({4: octets(b"t" * 15)}, MessageMalformed),
        ({4: octets(b"t" * 65)}, MessageMalformed),
        ({5: octets(b"n" * 65)}, MessageMalformed),
        ({6: octets(b"n" * 65)}, MessageMalformed),
        ({4: octets(TRANSACTION) * 2}, MessageMalformed),
        ({4: b""}, MessageMalformed),
        ({0: write_element(0x17, b"261123070809Z")}, MessageMalformed),
        ({0: write_element(0x18, b"20261123070809.5Z")}, MessageMalformed),
        ({0: write_element(0x18, b"20261323070809Z")}, MessageMalformed),
        ({0: write_element(0x18, b"20261123070809+")}, MessageMalformed),
        ({1: write_element(OCTET_STRING, b"x")}, MessageMalformed),
        ({8: write_element(SEQUENCE, write_element(SEQUENCE))}, MessageMalformed),
        ({8: write_element(SEQUENCE, *[IMPLICIT] * 9)}, MessageMalformed),
        ({9: octets(b"x")}, MessageMalformed),
    ],
)
def test_headers_that_are_refused(fields: dict[int, bytes | None], error: type[Exception]) -> None:
    for read in (parse_header, parse_message):
        with pytest.raises(error):
            read(write_message(SENDER, BODY, fields))


@pytest.mark.req("T19")
def test_fields_out_of_order_or_twice_are_refused() -> None:
    parts = [tag(4, octets(TRANSACTION)), tag(5, octets(NONCE))]
    for wrong in (parts[::-1], [*parts, parts[1]], [NOBODY, *parts]):
        header = write_element(SEQUENCE, write_element(INTEGER, b"\x02"), NOBODY, NOBODY, *wrong)
        with pytest.raises(MessageMalformed):
            parse_header(write_element(SEQUENCE, header, BODY))


@pytest.mark.req("T19")
@pytest.mark.parametrize(
    "change",
    [
        lambda der: b"",
        lambda der: der[:-1],
        lambda der: der + b"\0",
        lambda der: b"\x30\x80" + der[4:] + b"\0\0",
        lambda der: b"\x30\x84" + (len(der) - 4).to_bytes(4, "big") + der[4:],
        lambda der: b"\x30\x84\xff\xff\xff\xff" + der[4:],
        lambda der: b"\x31" + der[1:],
        lambda der: b"\x30\x82\x40\x00" * 4096,
        lambda der: write_element(SEQUENCE, der),
        lambda der: bytes(LIMIT + 1),
        lambda der: write_element(SEQUENCE, write_header(SENDER, AT)),
        lambda der: write_element(SEQUENCE, write_header(SENDER, AT), BODY, tag(1), tag(0)),
        lambda der: write_element(SEQUENCE, write_header(SENDER, AT), BODY, tag(0, b"\x03\x01\0")),
        lambda der: write_element(SEQUENCE, write_header(SENDER, AT), BODY, tag(0, b"\x03\x02\x01\x00")),
        lambda der: write_element(SEQUENCE, write_header(SENDER, AT), tag(21)),
        lambda der: write_element(SEQUENCE, write_header(SENDER, AT), tag(21, b"\x05\0" * 2)),
        lambda der: write_element(
            SEQUENCE, write_header(SENDER, AT), BODY, tag(1, write_element(SEQUENCE, *[SENDER.certificate] * 9))
        ),
    ],
)
def test_messages_that_are_refused(change: object) -> None:
    assert callable(change)
    with pytest.raises(MessageMalformed):
        parse_message(change(write_message(SENDER, BODY)))


@pytest.mark.parametrize("number", [1, 5, 19, 20, 23, 25, 30])
def test_bodies_that_are_not_answered(number: int) -> None:
    with pytest.raises(MessageUnsupported):
        parse_message(write_message(SENDER, tag(number, b"\x05\0")))
    assert parse_header(write_message(SENDER, tag(number, b"\x05\0"))).nonce == NONCE


def test_a_header_is_read_whatever_follows() -> None:
    header = write_header(SENDER, AT)
    assert parse_header(write_element(SEQUENCE, header, b"\x05\0")).transaction == TRANSACTION
    for wrong in (b"", b"\x30\0", b"x", bytes(LIMIT + 1), write_element(SEQUENCE, b"\x05\0", header)):
        with pytest.raises(MessageMalformed):
            parse_header(wrong)
