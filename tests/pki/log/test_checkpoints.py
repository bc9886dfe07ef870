"""The text of a checkpoint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.log.checkpoints import Checkpoint, parse_checkpoint, parse_decimal
from pki.log.errors import CheckpointInvalid
from pki.log.merkle import EMPTY_ROOT, MAX_SIZE

# The example of c2sp.org/tlog-checkpoint (CC BY 4.0).
EXAMPLE = b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


def test_example_of_the_standard_reads() -> None:
    checkpoint = parse_checkpoint(EXAMPLE)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.root.hex().startswith("0ac5186a91863e8e1d90")
    assert checkpoint.encode() == EXAMPLE


@given(st.integers(1, MAX_SIZE), st.binary(min_size=32, max_size=32))
def test_round_trip(size: int, root: bytes) -> None:
    checkpoint = Checkpoint("kedge.example/journal", size, root)
    assert parse_checkpoint(checkpoint.encode()) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        b"",
        EXAMPLE[:-1],
        EXAMPLE + b"extension\n",
        EXAMPLE + b"\n",
        EXAMPLE.replace(b"2085", b"02085"),
        EXAMPLE.replace(b"2085", b"+2085"),
        EXAMPLE.replace(b"2085", b"2 085"),
        EXAMPLE.replace(b"20852163", b"9" * 19),
        EXAMPLE.replace(b"20852163", b"-1"),
        EXAMPLE.replace(b"20852163", b""),
        EXAMPLE.replace(b"20852163", b"0"),
        EXAMPLE.replace(b"20852163", "\uff12".encode()),
        EXAMPLE.replace(b"q2I=", b"q2J="),
        EXAMPLE.replace(b"q2I=", b"q2I"),
        EXAMPLE.replace(b"q2I=", b"q2IA"),
        EXAMPLE.replace(b"q2I=", "ü".encode()),
        EXAMPLE.replace(b"example", b"exa mple"),
        EXAMPLE.replace(b"example", b"exa+mple"),
        EXAMPLE.replace(b"example", b"\xff"),
        b"\n" + EXAMPLE.split(b"\n", 1)[1],
    ],
)
def test_other_texts_are_refused(text: bytes) -> None:
    with pytest.raises(CheckpointInvalid):
        parse_checkpoint(text)


def test_extension_lines_are_named() -> None:
    with pytest.raises(CheckpointInvalid, match="not exactly three lines"):
        parse_checkpoint(EXAMPLE + b"extension\n")


def test_empty_tree_has_one_root() -> None:
    assert parse_checkpoint(Checkpoint("x", 0, EMPTY_ROOT).encode()).size == 0
    with pytest.raises(CheckpointInvalid, match="empty tree"):
        Checkpoint("x", 0, bytes(32))
    with pytest.raises(CheckpointInvalid):
        Checkpoint("x", 1, bytes(31))


def test_decimal_has_one_spelling() -> None:
    assert [parse_decimal(text) for text in ("0", "17", str(MAX_SIZE))] == [0, 17, MAX_SIZE]
    assert [parse_decimal(text) for text in ("", "00", "01", "1\n", " 1", "-1", "1e3", str(MAX_SIZE + 1))] == [None] * 8
