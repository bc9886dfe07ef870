import re

from pki.trust import device_errors, errors


def test_every_refusal_has_its_own_stable_code() -> None:
    leaves = {
        kind
        for module in (device_errors, errors)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, errors.TrustError)
    }
    codes = [kind.code for kind in leaves]
    assert len(set(codes)) == len(codes) > 30
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code) for code in codes)
