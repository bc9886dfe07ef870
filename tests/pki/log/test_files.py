"""An export as files: the checkpoint above them, and what explains them."""

import pytest

from pki.log.errors import AuditFailed
from pki.log.files import Files, check_head
from pki.log.policy import parse_policy
from tests.pki.log.building import POLICY
from tests.pki.log.stories import note_of, story


def test_a_checkpoint_without_a_policy_is_read_and_not_believed() -> None:
    note = note_of(story(), 5)
    head, verified = check_head("checkpoint", note.replace(b"\n5\n", b"\n6\n"), None)
    assert (head.size, verified) == (6, None)
    with pytest.raises(AuditFailed, match=r"^checkpoint: the signature of .* is false"):
        check_head("checkpoint", note.replace(b"\n5\n", b"\n6\n"), parse_policy(POLICY))


def test_a_missing_checkpoint_and_a_changed_document_are_named() -> None:
    files = Files({"leaf.schema.json": b"{}"}.__getitem__, frozenset(["leaf.schema.json"]), None)
    with pytest.raises(AuditFailed, match=r"^checkpoint: the file is missing"):
        files.head()
    with pytest.raises(AuditFailed, match=r"^leaf\.schema\.json: not the file of this release"):
        files.check_documents()
