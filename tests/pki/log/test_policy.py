"""Trust policies (c2sp.org/tlog-policy) and checkpoints verified against them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.log.checkpoints import Checkpoint
from pki.log.errors import (
    CheckpointInvalid,
    NoteInvalid,
    NoteUnsigned,
    OriginUnknown,
    TrustPolicyInvalid,
    WitnessesMissing,
)
from pki.log.notes import LOG_KEY, WITNESS_KEY, add_signature, parse_note
from pki.log.policy import Group, parse_policy, verify_checkpoint, weigh_cosignatures
from tests.pki.log.building import LOG, ORIGIN, POLICY, WITNESSES, NoteKey

LOG_LINE = f"log {LOG.public.encode()}\n"
W = [f"witness w{number} {witness.public.encode()}\n" for number, witness in enumerate(WITNESSES, 1)]
HEAD = Checkpoint(ORIGIN, 9, bytes(32))
SIX = [NoteKey(seed, f"witness.example/{seed}", WITNESS_KEY).public.encode() for seed in range(31, 37)]
TWO_LEVELS = (
    LOG_LINE
    + "".join(f"witness {'XY'[at // 3]}{at % 3} {vkey}\n" for at, vkey in enumerate(SIX))
    + "group X 2 X0 X1 X2\ngroup Y any Y0 Y1 Y2\ngroup X-and-Y all X Y\nquorum X-and-Y\n"
)


def test_all_kinds_of_lines() -> None:
    witness = f"witness\tw1  {W[0].split()[2]} https://w.example/\n"
    text = f"# trust\n\n \t{LOG_LINE}  # more\n{witness}{W[1]}group g any w1 w2 \nquorum g\n"
    policy = parse_policy(text.encode())
    assert policy.logs == (LOG.public,)
    assert policy.witnesses == (("w1", WITNESSES[0].public), ("w2", WITNESSES[1].public))
    assert (policy.groups, policy.quorum, policy.is_witnessed) == ((Group("g", 1, ("w1", "w2")),), "g", True)
    assert not parse_policy((LOG_LINE + "quorum none\n").encode()).is_witnessed
    assert parse_policy((LOG_LINE + W[0] + "quorum w1\n").encode()).quorum == "w1"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no quorum line"),
        ("quorum none\n", "no log"),
        (LOG_LINE, "no quorum line"),
        (LOG_LINE + W[0], "no quorum line"),
        (LOG_LINE + "quorum none", "no newline"),
        (LOG_LINE + "quorum none\nquorum none\n", "line 3: .*exactly one"),
        (LOG_LINE + "quorum none none\n", "line 2"),
        (LOG_LINE + "quorum w1\n" + W[0], "line 2: 'w1' is not defined"),
        (LOG_LINE * 2 + "quorum none\n", "line 2: .*listed twice"),
        (LOG_LINE + f"log {NoteKey(1, 'other').public.encode()}\nquorum none\n", "listed twice"),
        (LOG_LINE + f"witness w {NoteKey(1, ORIGIN, WITNESS_KEY).public.encode()}\nquorum w\n", "listed twice"),
        (LOG_LINE + W[0] * 2 + "quorum none\n", "'w1' is taken"),
        (LOG_LINE + W[0] + W[0].replace("w1", "w9") + "quorum none\n", "listed twice"),
        (LOG_LINE + W[0].replace("w1", "none") + "quorum none\n", "'none' is taken"),
        (LOG_LINE.replace("log ", "log w ") + "quorum none\n", "line 1"),
        (W[0].replace("witness w1", "log") + "quorum none\n", "0x01"),
        (LOG_LINE.replace("log", "witness w") + "quorum w\n", "0x04"),
        ("log x+1+y\nquorum none\n", "line 1"),
        (LOG_LINE + W[0] + "group g 2 w1\nquorum g\n", "threshold"),
        (LOG_LINE + W[0] + "group g 0 w1\nquorum g\n", "threshold"),
        (LOG_LINE + W[0] + "group g 01 w1\nquorum g\n", "threshold"),
        (LOG_LINE + W[0] + "group g some w1\nquorum g\n", "threshold"),
        (LOG_LINE + W[0] + "group g all\nquorum g\n", "line 3"),
        (LOG_LINE + W[0] + "group g all none\nquorum g\n", "not defined above"),
        (LOG_LINE + W[0] + "group g all g\nquorum g\n", "not defined above"),
        (LOG_LINE + W[0] + "group g any w1 w1\nquorum g\n", "member already"),
        (LOG_LINE + W[0] + "group g any w1\ngroup h any w1\nquorum g\n", "member already"),
        (LOG_LINE + W[0] + "group w1 any w1\nquorum none\n", "'w1' is taken"),
        (LOG_LINE + "trust me\nquorum none\n", "'trust'"),
        (LOG_LINE + "quorum none\r\n", "control characters"),
        (LOG_LINE + "\0quorum none\n", "control characters"),
        (LOG_LINE + "# " + "x" * 300_000 + "\nquorum none\n", "too large"),
    ],
)
def test_other_policies_are_refused(text: str, what: str) -> None:
    with pytest.raises(TrustPolicyInvalid, match=what):
        parse_policy(text.encode())


def test_octets_above_ascii_are_opaque() -> None:
    policy = parse_policy((LOG_LINE + W[0].replace("w1", "Zürich") + "quorum Zürich\n").encode())
    assert policy.quorum.encode("latin-1") == "Zürich".encode()
    with pytest.raises(TrustPolicyInvalid, match="not UTF-8"):
        parse_policy(LOG_LINE.encode().replace(b"log k", b"log \xff") + b"quorum none\n")


def test_there_is_room_for_32_of_each() -> None:
    logs = "".join(f"log {NoteKey(seed, f'l{seed}').public.encode()}\n" for seed in range(1, 33))
    names = [f"w{seed}" for seed in range(101, 133)]
    witnesses = "".join(
        f"witness w{seed} {NoteKey(seed, 'w', WITNESS_KEY).public.encode()}\n" for seed in range(101, 133)
    )
    groups = "".join(f"group g{name} any {name}\n" for name in names)
    assert len(parse_policy((logs + witnesses + groups + "quorum gw101\n").encode()).groups) == 32


def satisfied(cosigned: frozenset[str]) -> bool:
    """The quorum of TWO_LEVELS, said otherwise."""
    return len(cosigned & {"X0", "X1", "X2"}) >= 2 and len(cosigned & {"Y0", "Y1", "Y2"}) >= 1


@given(st.frozensets(st.sampled_from(["X0", "X1", "X2", "Y0", "Y1", "Y2", "stranger"])))
def test_missing_witnesses_are_counted(cosigned: frozenset[str]) -> None:
    result = weigh_cosignatures(parse_policy(TWO_LEVELS.encode()), cosigned)
    assert (result.missing == 0) is satisfied(cosigned)
    assert result.missing == max(0, 2 - len(cosigned & {"X0", "X1", "X2"})) + (not cosigned & {"Y0", "Y1", "Y2"})


def cosign(*numbers: int) -> bytes:
    note = LOG.sign(HEAD.encode())
    for number in numbers:
        note = WITNESSES[number].cosign(note, 1_780_000_000 + number)
    return note


@pytest.mark.req("AU-11")
def test_checkpoint_with_a_quorum_is_accepted() -> None:
    head = verify_checkpoint(parse_policy(POLICY), cosign(0, 2))
    assert (head.checkpoint, head.signers) == (HEAD, (LOG.public,))
    assert head.witnesses == (("w1", 1_780_000_000), ("w3", 1_780_000_002))


@pytest.mark.req("AU-2", "AU-11")
def test_checkpoint_without_a_quorum_is_refused() -> None:
    policy = parse_policy(POLICY)
    with pytest.raises(WitnessesMissing, match="needs 1 more"):
        verify_checkpoint(policy, cosign(1))
    with pytest.raises(WitnessesMissing, match="needs 2 more"):
        verify_checkpoint(policy, NoteKey(77, "w1", WITNESS_KEY).cosign(cosign(), 5))
    line = parse_note(cosign(1)).signatures[1]
    with pytest.raises(NoteInvalid, match="two signature lines"):
        verify_checkpoint(policy, add_signature(cosign(1), line.name, line.key_id, line.signature))


@pytest.mark.req("AU-2")
def test_checkpoint_of_another_log_is_refused() -> None:
    policy = parse_policy(POLICY)
    with pytest.raises(OriginUnknown):
        verify_checkpoint(policy, LOG.sign(Checkpoint("other.example", 9, bytes(32)).encode()))
    with pytest.raises(NoteUnsigned):
        verify_checkpoint(policy, NoteKey(2).sign(HEAD.encode()))
    # The witnesses cosigned, but the log itself did not sign.
    only = NoteKey(2).sign(HEAD.encode())
    with pytest.raises(NoteUnsigned, match="no listed key"):
        verify_checkpoint(policy, WITNESSES[1].cosign(WITNESSES[0].cosign(only, 5), 5))
    with pytest.raises(CheckpointInvalid):
        verify_checkpoint(policy, LOG.sign(HEAD.encode() + b"extension\n"))
    # A listed log signs under its own name only.
    two = parse_policy((LOG_LINE + f"log {NoteKey(3, 'second.example').public.encode()}\nquorum none\n").encode())
    with pytest.raises(NoteUnsigned):
        verify_checkpoint(two, NoteKey(3, "second.example").sign(HEAD.encode()))


def test_both_keys_of_a_rotation_are_reported() -> None:
    new = NoteKey(5, ORIGIN, LOG_KEY)
    policy = parse_policy((LOG_LINE + f"log {new.public.encode()}\nquorum none\n").encode())
    line = parse_note(new.sign(HEAD.encode())).signatures[0]
    note = add_signature(LOG.sign(HEAD.encode()), line.name, line.key_id, line.signature)
    assert verify_checkpoint(policy, note).signers == (LOG.public, new.public)
    assert verify_checkpoint(policy, new.sign(HEAD.encode())).signers == (new.public,)
