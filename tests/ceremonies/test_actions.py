"""Every kind of ceremony is in the table under its name, and its plan step covers kinds that need a quorum."""

from ceremonies.actions import ACTIONS
from ceremonies.policy import UNATTENDED
from tests.world import KINDS


def test_the_ceremonies() -> None:
    assert set(ACTIONS) == {
        "genesis", "work-order", "work-order-close", "trust-set", "transition", "counter-update", "destroy", "resume",
        "log-key-rotate", "log-key-retire", "ocsp-responder", "revoke", "station-enrol", "station-resume",
        "birth-package", "baseline", "register-import", "elements-import", "ca-rotate", "ca-switch", "cmp-responder",
        "site-ca", "plant-ca", "grant", "grant-import",
    }  # fmt: skip


def test_no_ceremony_goes_without_a_quorum() -> None:
    for name, action in ACTIONS.items():
        assert action.kinds, name
        assert set(action.kinds) <= set(KINDS), name
        assert not any(UNATTENDED.fullmatch(kind) for kind in action.kinds), name


def test_what_is_drafted_is_drawn_first() -> None:
    drafting = {"genesis", "trust-set", "transition", "counter-update", "log-key-rotate", "ocsp-responder"}
    for name in drafting | {"birth-package", "baseline", "ca-rotate", "cmp-responder", "site-ca", "plant-ca", "grant"}:
        assert ACTIONS[name].draft is not None
    plain = {"work-order", "destroy", "resume", "log-key-retire", "revoke", "station-enrol", "ca-switch"}
    for name in plain | {"register-import", "elements-import"}:
        assert ACTIONS[name].draft is None
