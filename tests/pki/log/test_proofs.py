"""The tlog-proof of an entry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.log.checkpoints import Checkpoint
from pki.log.errors import InclusionInvalid, LeafInvalid, LogError, NoteUnsigned, ProofInvalid, WitnessesMissing
from pki.log.leaves import encode_leaf
from pki.log.merkle import Frontier, leaf_hash
from pki.log.policy import parse_policy
from pki.log.proofs import Proof, encode_proof, parse_proof, verify_proof
from pki.log.tree import Tree
from tests.pki.log.building import LOG, ORIGIN, POLICY, Journal, NoteKey, sample_journal, sign_checkpoint

TRUST = parse_policy(POLICY)


def no_node(level: int, index: int) -> bytes:
    raise AssertionError(f"node {level}/{index} is in memory")


def prove(entries: list[bytes], index: int, log: NoteKey = LOG) -> bytes:
    tree = Tree(no_node)
    tree.accept(tree.stage([leaf_hash(entry) for entry in entries]))
    head = Checkpoint(ORIGIN, tree.size, tree.root())
    return encode_proof(index, tree.inclusion_proof(index, tree.size), sign_checkpoint(head, log))


@pytest.mark.req("AU-2", "EV-3")
def test_proof_shows_its_entry_and_no_other() -> None:
    entries = sample_journal().entries[:100]
    for index in (0, 41, 99):
        data = prove(entries, index)
        assert data.startswith(b"c2sp.org/tlog-proof@v1\nindex %d\n" % index)
        proven = verify_proof(data, entries[index], TRUST)
        assert (proven.leaf.seq, proven.head.checkpoint.size) == (index, 100)
        with pytest.raises(InclusionInvalid):
            verify_proof(data, entries[index - 1], TRUST)
    with pytest.raises(LeafInvalid):
        verify_proof(prove(entries, 3), b"{}", TRUST)


def test_journal_of_one_entry() -> None:
    entries = sample_journal().entries[:1]
    data = prove(entries, 0)
    assert b"index 0\n\nkedge.example/journal\n1\n" in data
    verify_proof(data, entries[0], TRUST)


@pytest.mark.req("AU-2")
def test_policy_decides_about_the_checkpoint() -> None:
    entries = sample_journal().entries[:10]
    with pytest.raises(NoteUnsigned):
        verify_proof(prove(entries, 3, NoteKey(9)), entries[3], TRUST)
    head = Checkpoint(ORIGIN, 1, leaf_hash(entries[0]))
    with pytest.raises(WitnessesMissing):
        verify_proof(encode_proof(0, (), LOG.sign(head.encode())), entries[0], TRUST)


def test_entry_must_say_where_it_stands() -> None:
    journal = Journal()
    journal.add("log.start")
    for change in ({"seq": 5}, {"log": "other.example"}):
        entry = encode_leaf(journal.leaf("probe") | change)
        with pytest.raises(ProofInvalid, match="says that it is entry"):
            verify_proof(prove([journal.entries[0], entry], 1), entry, TRUST)


HASH = st.binary(min_size=32, max_size=32)


@given(st.integers(0, 2**53), st.lists(HASH, max_size=63), st.binary(max_size=99))
def test_round_trip(index: int, hashes: list[bytes], extra: bytes) -> None:
    note = LOG.sign(b"text\n")
    assert parse_proof(encode_proof(index, hashes, note, extra)) == Proof(index, tuple(hashes), note, extra)


GOOD = encode_proof(7, Frontier().extend([bytes(32)]).hashes, b"note", b"extra data")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD.replace(b"@v1", b"@v2"),
        GOOD.replace(b"index 7\n", b""),
        GOOD.replace(b"index 7", b"index 07"),
        GOOD.replace(b"index 7", b"index -7"),
        GOOD.replace(b"index 7", b"Index 7"),
        GOOD.replace(b"\n\nnote", b"\nnote"),
        GOOD.replace(b"\n\nnote", b"\n\n"),
        GOOD.replace(b"AAA=", b"AAB="),
        GOOD.replace(b"AAA=", b"AA=="),
        GOOD.replace(b"AAA=", b"!"),
        GOOD.replace(b"extra ", b"extra  "),
        GOOD.replace(b"extra ZXh0cmEgZGF0YQ==", b"extra "),
        GOOD.replace(b"index", b"\xffndex"),
        encode_proof(7, [bytes(32)] * 64, b"note"),
        encode_proof(7, [bytes(31)], b"note"),
        encode_proof(7, [], b"x" * 600_000),
        encode_proof(7, [], b"note", bytes(70_000)),
        b"c2sp.org/tlog-proof@v1\n\nnote",
        GOOD.replace(b"\n", b"\r\n"),
    ],
)
def test_other_texts_are_refused(data: bytes) -> None:
    with pytest.raises(ProofInvalid):
        parse_proof(data)


@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    entries = sample_journal().entries[:20]
    proof = prove(entries, 11)
    policy = parse_policy(f"log {LOG.public.encode()}\nquorum none\n".encode())
    signed = proof.index(b"=\n\xe2\x80\x94 witness")  # cosignatures are strangers to this policy
    at = data.draw(st.integers(0, signed - 1))
    changed = bytearray(proof)
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(LogError):
        verify_proof(bytes(changed), entries[11], policy)
