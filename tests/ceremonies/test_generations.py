"""Generations as the entries have them: whose they are, which issues, what each may sign."""

from typing import Any

import pytest

from ceremonies.generations import AT_ANY_TIME, AUTHORITIES, LINK, PROFILES, AuthorityNotIssuing, Generations
from ceremonies.keyring import KINDS, KeyEntry
from pki.x509.profiles import PROFILES as X509_PROFILES
from tests.ceremonies.test_keyring import make_key


def sealed(spki: str, profile: str = "device-ca", subject: str = "O=Acme, CN=CA G1") -> dict[str, Any]:
    """The outcome of a CA's certificate."""
    what = {
        "certificate_number": "1f", "not_after": "2030-01-01T00:00:00Z", "profile": profile, "subject": subject,
        "subject_spki": spki,
    }  # fmt: skip
    return {
        "keys": [{"spki": "root"}],
        "op": {"kind": f"certificate.{profile}", "what": what},
        "out": {"doc": spki * 2},
    }


def follow(*entries: dict[str, Any]) -> Generations:
    """What follows from certificates."""
    generations = Generations()
    for entry in entries:
        generations.take_certificate(entry)
    return generations


def key(spki: str, role: str = "device-ca") -> KeyEntry:
    return make_key(spki, role)


TWO = (sealed("aaaa"), sealed("bbbb", subject="O=Acme, CN=CA G2"), sealed("cccc", subject="O=Acme, CN=CA G10"))


@pytest.mark.req("KL-1", "RO-1")
def test_the_first_generation_issues_until_a_switch_and_there_is_an_order() -> None:
    generations = follow(*TWO)
    name = generations.known["aaaa"].name
    assert [item.generation for item in generations.generations(name)] == [1, 2, 10]
    assert [generations.standing(spki) for spki in ("aaaa", "bbbb", "cccc")] == ["issuing", "pending", "pending"]
    generations.take_switch({"from": "aaaa", "to": "cccc"})
    standings = [generations.standing(spki) for spki in ("aaaa", "bbbb", "cccc")]
    assert standings == ["superseded", "superseded", "issuing"]
    assert generations.issuers("device-ca") == ["cccc"]
    made = generations.known["bbbb"]
    assert (made.ca, made.document, made.number) == ("root", "bbbbbbbb", "1f".rjust(40, "0"))


def test_cas_of_other_names_sites_and_profiles_are_others() -> None:
    generations = follow(
        sealed("aaaa"),
        sealed("bbbb", subject="O=Acme, CN=Other CA G2"),
        sealed("cccc", "site-ca", "O=Acme, OU=graz, CN=CA G1"),
        sealed("dddd", "site-ca", "O=Acme, OU=linz, CN=CA G2"),
        sealed("eeee", "site-ca", "O=Acme, OU=graz, CN=CA G2"),
    )
    assert generations.issuers("site-ca") == ["cccc", "dddd"]
    assert generations.is_same("cccc", "eeee")
    for one, other in (("cccc", "dddd"), ("aaaa", "bbbb"), ("aaaa", "none"), ("none", "none")):
        assert not generations.is_same(one, other)
    assert generations.standing("none") == ""


@pytest.mark.req("KL-7", "KL-3")
def test_who_does_not_issue_signs_lists_responders_and_links_alone() -> None:
    generations = follow(*TWO)
    generations.take_switch({"from": "aaaa", "to": "bbbb"})
    for kind in KINDS["device-ca"]:
        generations.check_issues(key("b"), kind)
        for spki in ("a", "c", "x"):
            if kind in AT_ANY_TIME:
                generations.check_issues(key(spki), kind)
            else:
                with pytest.raises(AuthorityNotIssuing):
                    generations.check_issues(key(spki), kind)
    generations.check_issues(key("x", "director"), "challenge")
    generations.check_issues(key("x", "identity-root"), "certificate.identity-root")  # of itself
    with pytest.raises(AuthorityNotIssuing, match="without a certificate"):
        generations.check_issues(key("x", "identity-root"), "certificate.device-ca")


def test_the_kinds_are_those_of_the_profiles() -> None:
    authorities = {name for name, profile in X509_PROFILES.items() if profile.authority}
    assert authorities == {*PROFILES, LINK.partition(".")[2]}
    assert {f"certificate.{name}" for name in authorities} == AUTHORITIES | {LINK}
