import re

from pki.errors import PkiError
from pki.formats import errors


def test_every_refusal_has_its_own_stable_code() -> None:
    leaves = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.FormatError)]
    codes = [kind.code for kind in leaves]
    assert len(set(codes)) == len(codes) > 5
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)
    assert all(issubclass(kind, PkiError) for kind in leaves)
