from pki.x509.profiles import PROFILES
from pki.x509.rules import RULES


def test_every_profile_has_lints_and_they_agree_where_both_speak() -> None:
    assert set(RULES) == set(PROFILES)
    for name, profile in PROFILES.items():
        rules = RULES[name]
        assert (rules.longest, rules.self_signed) == (profile.longest, profile.self_signed)
        assert (rules.authority, rules.site_bound) == (profile.authority, profile.site_bound)
        assert (rules.within_issuer, rules.backdated) == (profile.within_issuer, profile.backdated)
        assert rules.policies == bool(profile.policies)
        may = "may" if profile.hardware_module else "no"
        assert rules.hardware == ("must" if profile.naming == "module" else may)
        assert (profile.naming == "authority") == profile.authority
