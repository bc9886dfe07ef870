import pytest

from pki.errors import PkiError
from pki.trust.authorizations import Window, draft_install_authorization, verify_install_authorization
from tests.pki.trust.fleets import MANIFEST, ROOTS, SITE, finish, genesis, keys_of, sign
from tests.pki.trust.messages import authorization

SITE_SET = genesis(fleet=SITE)


def test_site_roots_decide() -> None:
    assert verify_install_authorization(SITE_SET, sign(authorization(), *ROOTS[:2])) == authorization()
    for signers in (ROOTS[:1], (ROOTS[0], MANIFEST)):
        with pytest.raises(PkiError, match="oem-root"):
            verify_install_authorization(SITE_SET, sign(authorization(), *signers))


def test_d10_another_site_is_refused() -> None:
    with pytest.raises(PkiError) as caught:
        verify_install_authorization(genesis(), sign(authorization(), *ROOTS))
    assert caught.value.code == "fleet-mismatch"


def test_devices_are_named_or_all() -> None:
    some = authorization(devices=(b"\1" * 33, b"\2" * 33), window=Window(1, 2))
    assert verify_install_authorization(SITE_SET, sign(some, *ROOTS)).devices == some.devices
    with pytest.raises(PkiError) as caught:
        verify_install_authorization(SITE_SET, sign(authorization(devices=()), *ROOTS))
    assert caught.value.code == "payload-invalid"


def test_draft() -> None:
    draft = draft_install_authorization(SITE_SET, authorization(), keys_of(*ROOTS[:2]))
    assert draft.kind == "install-authz"
    assert "all devices" in draft.summary
    assert verify_install_authorization(SITE_SET, finish(draft, *ROOTS)) == authorization()
