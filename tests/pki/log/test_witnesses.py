"""The protocol of witnesses (c2sp.org/tlog-witness): requests, verdicts, cosignatures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.log.checkpoints import Checkpoint
from pki.log.errors import CosignatureMissing, NoteInvalid, SubmissionInvalid
from pki.log.merkle import EMPTY_ROOT, Frontier, leaf_hash
from pki.log.notes import LOG_KEY, add_signature, cosigned_text, parse_note
from pki.log.policy import parse_policy, verify_checkpoint
from pki.log.tree import Tree
from pki.log.witnesses import (
    MAX_HASHES,
    MAX_SUBMISSION,
    Seen,
    Submission,
    Verdict,
    encode_cosignature,
    encode_submission,
    judge_submission,
    parse_submission,
    read_cosignature,
)
from tests.pki.log.building import LOG, ORIGIN, POLICY, WITNESSES, NoteKey

LEAVES = [leaf_hash(bytes([number])) for number in range(40)]
LOGS = {ORIGIN: [LOG.public]}
OTHER = [leaf_hash(b"other"), *LEAVES[1:]]


def no_node(level: int, index: int) -> bytes:
    raise AssertionError(f"node {level}/{index} is in memory")


TREE = Tree(no_node)
TREE.accept(TREE.stage(LEAVES))


def root(size: int, leaves: list[bytes] = LEAVES) -> bytes:
    return Frontier().extend(leaves[:size]).root


def note(size: int, leaves: list[bytes] = LEAVES, key: NoteKey = LOG, origin: str = ORIGIN) -> bytes:
    return key.sign(Checkpoint(origin, size, root(size, leaves)).encode())


def seen(size: int) -> dict[str, Seen]:
    return {ORIGIN: Seen(size, root(size))}


def submit(old: int, new: int, at: dict[str, Seen], leaves: list[bytes] = LEAVES) -> Verdict:
    body = encode_submission(Submission(old, TREE.consistency_proof(old, new) if old <= new else (), note(new, leaves)))
    return judge_submission(LOGS, at, body)


@given(st.integers(0, 40), st.integers(0, 40))
def test_every_growth_is_cosigned_and_nothing_else(old: int, new: int) -> None:
    verdict = submit(old, new, seen(old))
    assert verdict.status == (200 if old <= new else 400)
    if old <= new:
        assert verdict == Verdict(status=200, checkpoint=Checkpoint(ORIGIN, new, root(new)))


def test_a_log_that_was_never_seen_starts_from_nothing() -> None:
    assert submit(0, 7, {}).status == 200
    assert (submit(3, 7, {}).status, submit(3, 7, {}).size) == (409, 0)


@pytest.mark.req("T26", "AU-11")
@pytest.mark.parametrize(
    ("old", "new", "leaves", "status", "size", "fork"),
    [
        (5, 9, LEAVES, 409, 7, False),
        (9, 9, LEAVES, 409, 7, False),
        (5, 6, LEAVES, 409, 7, False),
        (7, 9, OTHER, 422, 0, False),
        (7, 7, OTHER, 422, 0, True),
        (5, 7, OTHER, 409, 7, True),
        (0, 7, OTHER, 409, 7, True),
        (7, 6, LEAVES, 400, 0, False),
    ],
)
def test_what_does_not_extend_is_refused(
    old: int, new: int, leaves: list[bytes], status: int, size: int, *, fork: bool
) -> None:
    verdict = submit(old, new, seen(7), leaves)
    assert (verdict.status, verdict.size, verdict.fork) == (status, size, fork)
    assert verdict.why


def test_a_proof_from_the_empty_tree_is_empty() -> None:
    body = encode_submission(Submission(0, (bytes(32),), note(7)))
    assert judge_submission(LOGS, {}, body).status == 422


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (note(7, origin="other.example/log", key=NoteKey(1, "other.example/log")), 404),
        (note(7, key=NoteKey(9)), 403),
        (note(7, key=NoteKey(1, "stranger")), 403),
        (note(7).replace(b"\n7\n", b"\n8\n"), 403),
        (note(7).replace(b"\n7\n", b"\n07\n"), 400),
        (note(7).replace(b"\n\n", b"\nextension\n\n"), 400),
        (LOG.sign(f"{ORIGIN}\n0\n{'A' * 43}=\n".encode()), 400),
        (b"no note\n", 400),
    ],
)
def test_checkpoints_that_are_refused(data: bytes, status: int) -> None:
    assert judge_submission(LOGS, {}, encode_submission(Submission(0, (), data))).status == status


def test_signatures_of_others_are_ignored() -> None:
    more = WITNESSES[0].cosign(add_signature(note(7), "stranger", b"1234", bytes(64)), 5)
    assert judge_submission(LOGS, {}, encode_submission(Submission(0, (), more))).status == 200


@given(st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=MAX_HASHES))
def test_a_request_survives_encoding(old: int, proof: list[bytes]) -> None:
    submission = Submission(old, tuple(proof), note(7))
    assert parse_submission(encode_submission(submission)) == submission


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"old 0\n\n",
        b"old 0\n" + note(7),
        b"new 0\n\n" + note(7),
        b"old 00\n\n" + note(7),
        b"old -1\n\n" + note(7),
        b"old 9223372036854775808\n\n" + note(7),
        b"old  0\n\n" + note(7),
        b"old 0\nAAAA\n\n" + note(7),
        b"old 0\n" + b"A" * 42 + b"B=\n\n" + note(7),
        b"old 0\n" + b"!" * 44 + b"\n\n" + note(7),
        b"old 0\n" + (b"A" * 43 + b"=\n") * 64 + b"\n" + note(7),
        b"old 0\n\n" + note(7)[:-1],
        b"old 0\n\n" + b"x" * MAX_SUBMISSION + b"\n",
    ],
)
def test_requests_that_are_refused(data: bytes) -> None:
    with pytest.raises(SubmissionInvalid):
        parse_submission(data)
    assert judge_submission(LOGS, {}, data).status == 400


@given(st.binary(max_size=300))
def test_any_bytes_get_a_verdict(data: bytes) -> None:
    assert judge_submission(LOGS, {}, data).status in (400, 403, 404)


def cosignature(at: int, witness: NoteKey, timestamp: int = 1_700_000_000) -> bytes:
    return witness.cosign(note(at), timestamp).removeprefix(note(at))


@pytest.mark.req("AU-2")
def test_a_cosignature_is_found_among_others_and_counts_for_the_quorum() -> None:
    head = note(7)
    answer = cosignature(7, WITNESSES[1]) + cosignature(7, WITNESSES[0], 1_700_000_001)
    line, timestamp = read_cosignature(head, answer, WITNESSES[0].public)
    assert (line, timestamp) == (cosignature(7, WITNESSES[0], 1_700_000_001), 1_700_000_001)
    other, _ = read_cosignature(head, answer, WITNESSES[1].public)
    assert [name for name, _ in verify_checkpoint(parse_policy(POLICY), head + line + other).witnesses] == ["w1", "w2"]


def test_a_cosignature_is_encoded_as_the_standard_says() -> None:
    key = WITNESSES[0]
    signed = parse_note(key.cosign(note(7), 5)).signatures[1].signature
    assert encode_cosignature(key.public, 5, signed[8:]) == cosignature(7, key, 5)
    assert cosigned_text(b"x\n", 5) == b"cosignature/v1\ntime 5\nx\n"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (cosignature(7, WITNESSES[1]), CosignatureMissing),
        (cosignature(7, WITNESSES[0]) * 2, CosignatureMissing),
        (cosignature(8, WITNESSES[0]), NoteInvalid),
        (b"no line\n", NoteInvalid),
        (b"", NoteInvalid),
        (b"x" * 20_000, CosignatureMissing),
    ],
)
def test_answers_that_are_refused(answer: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_cosignature(note(7), answer, WITNESSES[0].public)


def test_a_policy_of_the_log_itself_lists_where_witnesses_are() -> None:
    vkey = WITNESSES[0].public.encode()
    policy = parse_policy(f"witness w1 {vkey} https://w.example/1\nquorum w1\n".encode(), own_log=True)
    assert (policy.logs, policy.urls) == ((), (("w1", "https://w.example/1"),))
    assert LOG.public.kind == LOG_KEY
    assert Seen() == Seen(0, EMPTY_ROOT)
