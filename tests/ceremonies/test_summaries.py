"""Summaries of a keyroom: recorded by an entry, proven, counted again from an export."""

import asyncio

import pytest

from ceremonies.commands import DocumentRead, Problem, SummarizeJournal
from pki.log.merkle import leaf_hash, verify_inclusion
from pki.log.proofs import parse_proof
from pki.log.summaries import verify_summary
from pki.log.tiles import split_bundle
from tests.ceremonies.fetching import head_of
from tests.world import World, export_journal


@pytest.mark.req("AU-10", "AU-5")
def test_a_summary_is_recorded_proven_and_counted_again(genesis_world: World) -> None:
    world = genesis_world
    found = asyncio.run(world.ask(SummarizeJournal(), "auditor", DocumentRead))
    proof = parse_proof(found.proven.proof)
    head = head_of(proof.checkpoint)
    verify_inclusion(leaf_hash(found.proven.entry), found.proven.index, head.size, head.root, proof.hashes)
    files = asyncio.run(export_journal(world))
    bundles = [files[path] for path in sorted(files) if path.startswith("tile/entries/")]
    entries = enumerate(entry for bundle in bundles for entry in split_bundle(bundle))
    assert verify_summary(found.document, entries) == found.proven.index


@pytest.mark.req("AZ-2")
def test_a_summary_is_for_auditors(genesis_world: World) -> None:
    for role in ("station", "officer"):
        answer = asyncio.run(genesis_world.try_ask(SummarizeJournal(), role))
        assert isinstance(answer, Problem)
        assert answer.code == "role-refused"
