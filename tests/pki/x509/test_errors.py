from pki.errors import PkiError
from pki.x509 import errors
from pki.x509.errors import LintFailed, X509Error


def test_every_leaf_has_its_own_code() -> None:
    leaves = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, PkiError)]
    codes = [leaf.code for leaf in leaves]
    assert len(leaves) > 10
    assert len(set(codes)) == len(codes)
    assert all(issubclass(leaf, X509Error) for leaf in leaves if leaf is not PkiError)


def test_a_failed_lint_keeps_its_findings() -> None:
    error = LintFailed("two things", hint="report it", findings=("one", "two"))
    assert (error.message, error.hint, error.findings) == ("two things", "report it", ("one", "two"))
