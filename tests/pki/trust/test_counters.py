"""Counter updates: two keys, and the limits that the set gives."""

from typing import Any

import pytest

from pki.errors import PkiError
from pki.trust.counters import FloorRaise, draft_counter_update, verify_counter_update
from pki.trust.errors import ThresholdNotMet
from pki.trust.sets import Domain, Limits, SetRef
from tests.pki.trust.fleets import (
    CLASS,
    COUNTERS,
    MANIFEST,
    OTHER_CLASS,
    ROOTS,
    SoftKey,
    finish,
    genesis,
    keys_of,
    sign,
    target,
)
from tests.pki.trust.messages import GENESIS, counter_update


def raises(*steps: tuple[Domain, int, int]) -> dict[str, Any]:
    return {"raises": tuple(FloorRaise(domain, low, high, 1) for domain, low, high in steps)}


def test_accepts() -> None:
    assert verify_counter_update(GENESIS, sign(counter_update(), *COUNTERS)) == counter_update()


@pytest.mark.req("KL-7")
@pytest.mark.parametrize("signers", [COUNTERS[:1], (COUNTERS[0], MANIFEST), ROOTS, (COUNTERS[1], ROOTS[0])])
def test_both_counter_keys_sign(signers: tuple[SoftKey, ...]) -> None:
    with pytest.raises(ThresholdNotMet):
        verify_counter_update(GENESIS, sign(counter_update(), *signers))


@pytest.mark.req("RO-6")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"fleet": bytes(16)}, "fleet-mismatch"),
        ({"set_ref": SetRef(0, 1, bytes(32))}, "set-ref-mismatch"),
        ({"target": target(class_id=OTHER_CLASS)}, "limit-exceeded"),
        (raises((Domain.APP, 1, 6)), "limit-exceeded"),
        (raises((Domain.APP, 97, 101)), "limit-exceeded"),
        (raises((Domain.APP, 3, 3)), "limit-exceeded"),
        (raises((Domain.APP, 3, 2)), "limit-exceeded"),
        (raises((Domain.BOOT, 1, 2)), "limit-exceeded"),
        (raises((Domain.TRUST, 1, 2)), "limit-exceeded"),
        (raises((Domain.APP, 1, 2), (Domain.APP, 2, 3)), "limit-exceeded"),
        ({"raises": ()}, "payload-invalid"),
    ],
)
def test_refusals(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(PkiError) as caught:
        verify_counter_update(GENESIS, sign(counter_update(**changes), *COUNTERS))
    assert caught.value.code == code


def test_the_greatest_step_and_the_maximum_are_allowed() -> None:
    update = counter_update(**raises((Domain.APP, 96, 100)))
    assert verify_counter_update(GENESIS, sign(update, *COUNTERS)) == update


def test_d12_domain_0_is_raised_by_no_counter_update_whatever_the_limits() -> None:
    generous = genesis(limits={CLASS: {Domain.TRUST: Limits(9, 9)}})
    update = counter_update(generous, **raises((Domain.TRUST, 0, 1)))
    with pytest.raises(PkiError, match="domain trust"):
        verify_counter_update(generous, sign(update, *COUNTERS))


def test_draft() -> None:
    draft = draft_counter_update(GENESIS, counter_update(), keys_of(*COUNTERS))
    assert draft.kind == "counter-update"
    assert "app 1 to 3" in draft.summary
    assert draft.what["floors"] == {"app": 3}
    assert verify_counter_update(GENESIS, finish(draft, *COUNTERS)) == counter_update()
