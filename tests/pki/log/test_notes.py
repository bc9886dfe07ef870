"""Signed notes and verifier keys: the example of the standard, false signatures, limits."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.log.errors import NoteInvalid, NoteUnsigned, VerifierKeyInvalid
from pki.log.notes import (
    LOG_KEY,
    MAX_SIGNATURES,
    VerifierKey,
    add_signature,
    assemble_note,
    parse_note,
    parse_vkey,
    verify_note,
)
from tests.pki.log.building import LOG, WITNESSES, NoteKey

# The example of c2sp.org/signed-note (CC BY 4.0).
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = (
    "This is an example message.\n\n\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZ"
    "XsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()

TEXT = b"kedge.example/journal\n1\nAAAA\n"


def test_example_of_the_standard_verifies() -> None:
    key = parse_vkey(EXAMPLE_KEY)
    assert (key.name, key.kind, key.key_id.hex()) == ("example.com/foo", LOG_KEY, "530d903a")
    assert key.encode() == EXAMPLE_KEY
    note, signatures = verify_note(EXAMPLE, [key])
    assert note.text == b"This is an example message.\n"
    assert [(item.key, item.timestamp) for item in signatures] == [(key, 0)]


def test_cosignature_covers_its_time() -> None:
    witness = WITNESSES[0]
    note = witness.cosign(LOG.sign(TEXT), 1_679_315_147)
    _, signatures = verify_note(note, [LOG.public, witness.public])
    assert [item.timestamp for item in signatures] == [0, 1_679_315_147]
    with pytest.raises(NoteInvalid, match=r"witness\.example/11"):  # truly signed, but beyond the standard's range
        verify_note(witness.cosign(LOG.sign(TEXT), 2**63), [witness.public])
    line = parse_note(note).signatures[1]
    for timestamp in (1_679_315_146, 1_679_315_148):
        false = timestamp.to_bytes(8, "big") + line.signature[8:]
        with pytest.raises(NoteInvalid, match=r"witness\.example/11"):
            verify_note(add_signature(LOG.sign(TEXT), line.name, line.key_id, false), [witness.public])


def test_false_signature_of_a_known_key_refuses_the_note() -> None:
    note = add_signature(LOG.sign(TEXT), WITNESSES[0].public.name, WITNESSES[0].public.key_id, bytes(72))
    verify_note(note, [LOG.public])  # the witness is unknown here
    with pytest.raises(NoteInvalid, match=r"signature of witness\.example/11"):
        verify_note(note, [LOG.public, WITNESSES[0].public])


@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    note = LOG.sign(TEXT)
    at = data.draw(st.integers(0, len(note) - 1))
    changed = bytearray(note)
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises((NoteInvalid, NoteUnsigned)):
        verify_note(bytes(changed), [LOG.public])


def test_note_signed_by_strangers_only_is_refused() -> None:
    for key in (NoteKey(2).public, NoteKey(1, "other.example").public, WITNESSES[0].public):
        with pytest.raises(NoteUnsigned, match=r"kedge\.example/journal"):
            verify_note(LOG.sign(TEXT), [key])
    with pytest.raises(NoteUnsigned):
        verify_note(LOG.sign(TEXT), [])


def test_known_key_signs_once() -> None:
    line = parse_note(LOG.sign(TEXT)).signatures[0]
    note = add_signature(LOG.sign(TEXT), line.name, line.key_id, line.signature)
    with pytest.raises(NoteInvalid, match="two signature lines"):
        verify_note(note, [LOG.public])


COLLISION = (67751, 175283)
SIGNED = LOG.sign(TEXT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TEXT,
        TEXT + b"\n",
        b"\n\n" + SIGNED.split(b"\n\n")[1],
        SIGNED[:-1],
        SIGNED + b"\n",
        SIGNED + b"x\n",
        SIGNED.replace(b"\n1\n", b"\r1\n"),
        SIGNED.replace(b"\n1\n", b"\n\xff\n"),
        SIGNED.replace("\u2014".encode(), b"-"),
        assemble_note(TEXT, "a b", b"1234", bytes(64)),
        assemble_note(TEXT, "a+b", b"1234", bytes(64)),
        assemble_note(TEXT, "a\u2028b", b"1234", bytes(64)),
        assemble_note(TEXT, "", b"1234", bytes(64)),
        assemble_note(TEXT, "a", b"1234", b""),
        SIGNED.replace(b"=\n", b"\n"),
        SIGNED + SIGNED.split(b"\n\n")[1] * MAX_SIGNATURES,
        b"x" * 300_000 + SIGNED,
    ],
)
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(NoteInvalid):
        parse_note(data)


def test_base64_has_one_spelling() -> None:
    assert SIGNED.endswith(b"=\n")
    for letter in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        other = SIGNED[:-3] + bytes([letter]) + b"=\n"
        if other != SIGNED:
            with pytest.raises(NoteInvalid):
                verify_note(other, [LOG.public])


def test_text_may_hold_empty_lines() -> None:
    note, _ = verify_note(LOG.sign(b"a\n\nb\n"), [LOG.public])
    assert note.text == b"a\n\nb\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "x+1+y",
        EXAMPLE_KEY[:-1],
        EXAMPLE_KEY.replace("530d", "530e"),
        EXAMPLE_KEY.replace("530d", "530D"),
        EXAMPLE_KEY.replace("+Aek", "+Aek+"),
        EXAMPLE_KEY.replace("foo", "f o"),
        EXAMPLE_KEY + "ü",
        EXAMPLE_KEY[15:],
        EXAMPLE_KEY.replace("+Aek", "+Auk"),
    ],
)
def test_false_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(VerifierKeyInvalid):
        parse_vkey(text)


def test_key_of_another_type_or_size_is_refused() -> None:
    for kind, public in [(2, bytes(32)), (LOG_KEY, bytes(31))]:
        with pytest.raises(VerifierKeyInvalid):
            VerifierKey("name", kind, public)


def test_two_known_keys_with_one_name_and_id_are_refused() -> None:
    # Two keys whose 32-bit ids collide, found by search over SHA-256(b"%d") as public keys.
    first, second = (VerifierKey("n", LOG_KEY, hashlib.sha256(b"%d" % number).digest()) for number in COLLISION)
    assert first.key_id == second.key_id
    with pytest.raises(NoteInvalid, match="two known keys"):
        verify_note(SIGNED, [first, second])
    assert verify_note(SIGNED, [LOG.public, LOG.public])[1][0].key == LOG.public
