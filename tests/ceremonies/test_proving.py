"""Proofs from the database are those of the tree in memory."""

import pytest

from ceremonies.proving import Prover
from pki.log.proofs import parse_proof
from tests.world import World


@pytest.mark.req("AU-2")
def test_proofs_are_those_of_the_journal(genesis_world: World) -> None:
    journal, store = genesis_world.room.ledger.journal, genesis_world.room.store
    for size in (1, 2, 7, 64, journal.size):
        prover = Prover(store, size, b"note\n")
        for seq in range(size):
            proof = parse_proof(prover.prove(seq))
            assert (proof.index, proof.hashes) == (seq, journal.inclusion_proof(seq, size))
