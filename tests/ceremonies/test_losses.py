"""What officers are asked to give up."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ceremonies.approvals import parse_template
from ceremonies.losses import RecoveryRefused, propose_recovery, read_facts
from ceremonies.policy import EVERYONE, Policy
from ceremonies.public import published_path
from pki.log.checkpoints import Checkpoint
from tests.ceremonies.salvaging import REASON, Loss
from tests.pki.log.building import NoteKey
from tests.world import World, make_policy, soft_world


@pytest.fixture
def loss(factory_world: World, tmp_path: Path) -> Iterator[Loss]:
    """Yesterday's database under today's anchors."""
    made = Loss(factory_world, tmp_path)
    yield made
    made.world.stop()


@pytest.mark.req("T26")
def test_the_proposal_says_what_is_there_and_what_is_lost(loss: Loss) -> None:
    unknown = loss.world.path / "public" / "trust" / "set-0-1.cose"
    unknown.write_bytes(b"a set that lost entries released")
    proposal = loss.propose()
    facts, template = read_facts(proposal.shown), parse_template(proposal.template)
    assert facts["lost"] == {"from": loss.known, "to": loss.size}
    assert facts["database"]["size"] == template.log_checkpoint.size == loss.known
    assert [item["name"] for item in facts["anchors"]] == ["anchor", "published", "token"]
    assert [item["path"] for item in facts["published"]] == ["trust/set-0-1.cose"]
    assert "journal" not in facts["suspends"]
    assert {"oem-root-1", "device-ca", "manifest-signer"} <= set(facts["suspends"])
    assert (template.m, template.n, template.params["kinds"]) == (2, 3, ["log.recover"])
    assert (proposal.roster, json.loads(proposal.shown)["reason"]) == (loss.world.roster.document, REASON)


def test_a_journal_that_extends_its_anchors_is_not_recovered(factory_world: World) -> None:
    factory_world.stop()
    with pytest.raises(RecoveryRefused, match="extends its anchors"):
        propose_recovery(factory_world.settings(), factory_world.around, REASON, factory_world.strongbox)


def test_before_genesis_there_is_nothing_to_recover(tmp_path: Path) -> None:
    world = soft_world(tmp_path).start()
    world.stop()
    with pytest.raises(RecoveryRefused, match="genesis is not over"):
        propose_recovery(world.settings(), world.around, REASON, world.strongbox)


@pytest.mark.parametrize("reason", ["", "x" * 257, "two\nlines", "gr\u00fcn"])
def test_a_reason_is_one_printable_line(loss: Loss, reason: str) -> None:
    with pytest.raises(RecoveryRefused, match="reason"):
        loss.propose(reason)


@pytest.mark.req("T26")
def test_an_anchor_by_a_key_that_the_database_does_not_know_is_named_as_such(loss: Loss) -> None:
    """The journal's key was changed in the lost part, or somebody made the checkpoint up."""
    text = Checkpoint("kedge.example/journal", 9000, bytes(32)).encode()
    published_path(loss.world.settings()).write_bytes(NoteKey(5).sign(text))
    facts = read_facts(loss.propose().shown)
    signed = [(item["name"], item["signed"]) for item in facts["anchors"]]
    assert signed == [("anchor", True), ("published", False), ("token", True)]
    assert facts["lost"]["to"] == 9000


def test_a_proposal_that_does_not_parse() -> None:
    with pytest.raises(RecoveryRefused):
        read_facts(b"{")


@pytest.mark.req("AZ-3")
def test_a_policy_that_does_not_name_the_quorum_leaves_it_to_every_officer(loss: Loss) -> None:
    full, roster = make_policy(loss.world.issuer.jwk), loss.world.roster
    named = {kind: quorum for kind, quorum in full.quorums.items() if kind not in EVERYONE}
    bare = Policy(quorums=named, fleet=full.fleet)
    for kind in EVERYONE:
        assert (full.rule_for(kind, roster).m, bare.rule_for(kind, roster).m, bare.rule_for(kind, roster).n) == (
            2,
            3,
            3,
        )
