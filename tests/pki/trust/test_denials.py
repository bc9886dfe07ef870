from typing import Any

import pytest

from pki.errors import PkiError
from pki.trust.denials import draft_deny_list, verify_deny_list
from pki.trust.sets import RoleId, Scope, SetRef
from pki.trust.targets import Digest
from tests.pki.trust.fleets import CLASS, DIRECTOR, MANIFEST, OTHER_CLASS, finish, genesis, group, keys_of, sign
from tests.pki.trust.messages import GENESIS, HASH, deny_list


@pytest.mark.req("FS-11")
def test_accepts() -> None:
    assert verify_deny_list(GENESIS, sign(deny_list(), MANIFEST)) == deny_list()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"fleet": bytes(16)}, "fleet-mismatch"),
        ({"set_ref": SetRef(0, 0, bytes(32))}, "set-ref-mismatch"),
        ({"digests": (Digest(-43, HASH),)}, "payload-invalid"),
        ({"digests": (Digest(-16, HASH), Digest(-16, HASH))}, "payload-invalid"),
    ],
)
def test_refusals(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(PkiError) as caught:
        verify_deny_list(GENESIS, sign(deny_list(**changes), MANIFEST))
    assert caught.value.code == code


def test_other_signers_are_refused() -> None:
    with pytest.raises(PkiError, match="manifest-signer"):
        verify_deny_list(GENESIS, sign(deny_list(), DIRECTOR))


def test_signers_of_one_class_deny_for_that_class_only() -> None:
    groups = group(1, MANIFEST, scope=Scope(classes=(CLASS,)))
    scoped = genesis(roles={**GENESIS.roles, RoleId.MANIFEST_SIGNER: groups})
    message = sign(deny_list(scoped), MANIFEST)
    assert verify_deny_list(scoped, message, class_id=CLASS) == deny_list(scoped)
    for class_id in (None, OTHER_CLASS):
        with pytest.raises(PkiError, match="no group"):
            verify_deny_list(scoped, message, class_id=class_id)


def test_draft() -> None:
    draft = draft_deny_list(GENESIS, deny_list(), keys_of(MANIFEST))
    assert (draft.kind, len(draft.what["digests"])) == ("deny-list", 2)
    assert verify_deny_list(GENESIS, finish(draft, MANIFEST)) == deny_list()
