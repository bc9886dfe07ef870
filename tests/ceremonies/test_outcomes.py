"""What every answer may be: proven, or a problem with a stable code."""

import msgspec

from ceremonies.outcomes import Problem, Proven


def test_a_problem_says_what_to_do_or_nothing() -> None:
    assert Problem("serial-taken", "it is taken") == Problem("serial-taken", "it is taken", "", {})
    assert Problem.__struct_config__.tag == "problem"


def test_a_proof_comes_with_the_bytes_that_it_proves() -> None:
    proven = Proven(417, b"entry", b"proof")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(proven), type=Proven) == proven
