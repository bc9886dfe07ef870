import pytest

from pki.x509.errors import ProfileUnknown
from pki.x509.profiles import DEVICE_CA, IDENTITY_ROOT, IDEVID, PROFILES, SITE_CA, find_profile


def test_profiles_are_found_by_name() -> None:
    assert set(PROFILES) == {"identity-root", "device-ca", "site-ca", "idevid", "ocsp-responder"}
    for name, profile in PROFILES.items():
        assert find_profile(name) is profile
        assert profile.citation
    with pytest.raises(ProfileUnknown, match="tls-server") as caught:
        find_profile("tls-server")
    assert "idevid" in caught.value.hint


@pytest.mark.req("KL-7")
def test_each_profile_names_its_one_issuer() -> None:
    assert IDENTITY_ROOT.self_signed
    assert [profile.issuer for profile in (DEVICE_CA, SITE_CA, IDEVID)] == [
        "identity-root",
        "identity-root",
        "device-ca",
    ]
    assert not any(profile.self_signed for profile in (DEVICE_CA, SITE_CA, IDEVID))


def test_profiles_are_frozen() -> None:
    with pytest.raises(AttributeError):
        IDEVID.authority = True  # type: ignore[misc]  # that it cannot be set is the test
    with pytest.raises(TypeError):
        PROFILES["x"] = IDEVID  # type: ignore[index]  # as above
