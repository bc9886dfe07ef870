"""What every message that speaks of many classes must hold to: who signs it, and what it is refused for."""

from collections.abc import Callable
from typing import Any

import pytest

from pki.errors import PkiError
from pki.trust.errors import ThresholdNotMet
from pki.trust.sets import RoleId, Scope, TrustSet
from tests.pki.trust.fleets import CLASS, MANIFEST, OTHER_CLASS, following, group, sign, soft_key
from tests.pki.trust.messages import GENESIS

Verify = Callable[[TrustSet, bytes], Any]


def demand_refusal(verify: Verify, trust_set: TrustSet, message: Any, code: str) -> None:
    """The message, signed as it should be, is refused with this code."""
    with pytest.raises(PkiError) as caught:
        verify(trust_set, sign(message, MANIFEST))
    assert caught.value.code == code


def demand_every_signer(verify: Verify, make: Callable[[TrustSet], Any]) -> None:
    """Where classes have manifest-signers of their own, each of them signs."""
    plain, other = following(GENESIS), soft_key(122)
    groups = (*group(1, MANIFEST, scope=Scope(classes=(CLASS,))), *group(1, other, scope=Scope(classes=(OTHER_CLASS,))))
    roles = {**plain.roles, RoleId.MANIFEST_SIGNER: groups}
    scoped = following(GENESIS, keys=(*plain.keys, other.key), roles=roles)
    with pytest.raises(ThresholdNotMet):
        verify(scoped, sign(make(scoped), MANIFEST))
    assert verify(scoped, sign(make(scoped), MANIFEST, other)) == make(scoped)
