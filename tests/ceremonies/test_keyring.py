"""Keys by role and state: every transition, every purpose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ceremonies.keyring import (
    ALGORITHMS,
    KINDS,
    TRANSITIONS,
    KeyEntry,
    KeyNotActive,
    KeyPurposeRefused,
    Keyring,
    KeyTransitionRefused,
    KeyUnknown,
    check_may_sign,
    check_plan,
    check_transition,
)
from pki.x509.profiles import PROFILES

# SP 800-57 part 1 revision 5, section 7, written down a second time, as pairs.
ALLOWED = {
    ("pre-activation", "active"), ("pre-activation", "suspended"), ("pre-activation", "destroyed"),
    ("active", "suspended"), ("active", "deactivated"), ("active", "compromised"), ("active", "destroyed"),
    ("suspended", "active"), ("suspended", "compromised"), ("suspended", "destroyed"),
    ("deactivated", "compromised"), ("deactivated", "destroyed"),
    ("compromised", "destroyed"),
}  # fmt: skip
STATES = sorted(TRANSITIONS)


def make_key(label: str = "k", role: str = "director", state: str = "active", scope: str = "") -> KeyEntry:
    """A key without a token."""
    return KeyEntry(
        spki=label * 4, label=label, role=role, scope=scope, algorithm="p256", token="t", token_serial="s",
        cka_id="00", thumbprint="00", state=state, uses=0,
    )  # fmt: skip


@pytest.mark.req("KL-1")
@given(st.sampled_from(STATES), st.sampled_from([*STATES, "", "ACTIVE"]))
def test_the_whole_matrix_of_states(old: str, new: str) -> None:
    key = make_key(state=old)
    if (old, new) in ALLOWED:
        check_transition(key, new)
    else:
        with pytest.raises(KeyTransitionRefused, match=old):
            check_transition(key, new)


@pytest.mark.req("KL-1")
@given(st.lists(st.sampled_from(STATES), max_size=12))
def test_no_way_leads_back_from_destruction(walk: list[str]) -> None:
    state = "pre-activation"
    for wanted in walk:
        try:
            check_transition(make_key(state=state), wanted)
        except KeyTransitionRefused:
            continue
        assert state != "destroyed"
        assert not (state == "compromised" and wanted != "destroyed")
        state = wanted


@pytest.mark.req("KL-2", "KL-3", "KL-4", "KL-7")
@given(st.sampled_from(sorted(KINDS)), st.sampled_from(sorted(set().union(*KINDS.values()))), st.sampled_from(STATES))
def test_only_an_active_key_signs_and_only_its_kinds(role: str, kind: str, state: str) -> None:
    key = make_key(role=role, state=state)
    if kind not in KINDS[role]:
        with pytest.raises(KeyPurposeRefused):
            check_may_sign(key, kind)
    elif state != "active":
        with pytest.raises(KeyNotActive, match=state):
            check_may_sign(key, kind)
    else:
        check_may_sign(key, kind)


@pytest.mark.req("KL-7")
def test_no_two_roles_share_a_kind_but_roots_and_recovery_and_what_each_ca_says_of_its_own() -> None:
    owners = {kind: {role for role in KINDS if kind in KINDS[role]} for kinds in KINDS.values() for kind in kinds}
    assert {kind: roles for kind, roles in owners.items() if len(roles) > 1} == {
        "trust-set": {"oem-root", "recovery"},
        "certificate.ocsp-responder": {"device-ca", "site-ca", "service-ca"},
        "crl": {"identity-root", "device-ca", "site-ca", "service-ca"},
    }
    assert KINDS["journal"] == KINDS["ocsp"] == KINDS["cmp"] == frozenset()


@pytest.mark.req("KL-7", "CA-8")
def test_a_key_signs_the_certificates_that_profiles_say_its_role_issues() -> None:
    for name, profile in PROFILES.items():
        assert {role for role in KINDS if f"certificate.{name}" in KINDS[role]} == set(profile.issuers)


def test_a_role_has_its_algorithm() -> None:
    for role in [*KINDS, "nobody"]:
        for algorithm in ("p256", "p384", "ed25519", "rsa"):
            if algorithm in ALGORITHMS.get(role, ()):
                check_plan(role, algorithm)
            else:
                with pytest.raises(KeyPurposeRefused):
                    check_plan(role, algorithm)
    assert ALGORITHMS.keys() == KINDS.keys()


def test_keys_are_found_by_name_label_and_role() -> None:
    first, other = make_key("a", scope="x"), make_key("b", scope="y")
    ring = Keyring([other, first, make_key("c", state="suspended")])
    assert ring.get("aaaa") == ring.labelled("a") == first
    assert ring.active("director") == (first, other)
    assert ring.active("director", "y") == (other,)
    ring.put(make_key("a", state="destroyed"))
    assert (ring.labelled("a").state, len(list(ring))) == ("destroyed", 3)
    with pytest.raises(KeyUnknown):
        ring.get("none")
    with pytest.raises(KeyUnknown):
        ring.labelled("none")
