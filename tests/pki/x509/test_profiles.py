import pytest

from pki.x509.errors import ProfileUnknown
from pki.x509.profiles import IDEVID, PROFILES, find_profile


def test_profiles_are_found_by_name() -> None:
    assert set(PROFILES) == {
        "identity-root", "root-link", "device-ca", "site-ca", "service-ca",
        "idevid", "ieee2030-5-device", "ldevid", "station-tls", "ocsp-responder",
        "cmp-responder",
    }  # fmt: skip
    for name, profile in PROFILES.items():
        assert find_profile(name) is profile
        assert profile.citation
    with pytest.raises(ProfileUnknown, match="tls-server") as caught:
        find_profile("tls-server")
    assert "idevid" in caught.value.hint


@pytest.mark.req("KL-7")
def test_each_profile_names_its_one_issuer_but_the_responder() -> None:
    assert [name for name, profile in PROFILES.items() if profile.self_signed] == ["identity-root"]
    assert {name: profile.issuers for name, profile in PROFILES.items()} == {
        "identity-root": ("identity-root",),
        "root-link": ("identity-root",),
        "device-ca": ("identity-root",),
        "site-ca": ("identity-root",),
        "service-ca": ("identity-root",),
        "idevid": ("device-ca",),
        "ieee2030-5-device": ("device-ca",),
        "ldevid": ("site-ca",),
        "station-tls": ("service-ca",),
        "ocsp-responder": ("device-ca", "site-ca", "service-ca"),
        "cmp-responder": ("device-ca",),
    }


def test_profiles_are_frozen() -> None:
    with pytest.raises(AttributeError):
        IDEVID.authority = True  # type: ignore[misc]  # that it cannot be set is the test
    with pytest.raises(TypeError):
        PROFILES["x"] = IDEVID  # type: ignore[index]  # as above
