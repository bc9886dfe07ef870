"""Every error of the log has a name of its own."""

from pki.errors import PkiError
from pki.log import errors
from pki.log.errors import AuditFailed, LogError


def test_codes_are_unique_and_kebab_case() -> None:
    found = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, LogError)]
    codes = [item.code for item in found]
    assert len(set(codes)) == len(codes) == 20
    assert all(code.replace("-", "").islower() for code in codes)
    assert issubclass(LogError, PkiError)


def test_audit_says_where() -> None:
    error = AuditFailed("entry 4: bad", entry=4, path="tile/0/000", hint="ask")
    assert (str(error), error.entry, error.path, error.hint) == ("entry 4: bad", 4, "tile/0/000", "ask")
