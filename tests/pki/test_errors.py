"""Errors of the rule book say what happened and what to do, under a stable code."""

from pki.errors import KeyUnsupported, PkiError, SignatureInvalid, SignatureMissing


def test_an_error_carries_message_and_hint() -> None:
    error = SignatureInvalid("it does not verify", hint="sign it again")
    assert (str(error), error.message, error.hint) == ("it does not verify", "it does not verify", "sign it again")


def test_codes_are_kebab_case_and_distinct() -> None:
    codes = [kind.code for kind in (PkiError, SignatureInvalid, KeyUnsupported, SignatureMissing)]
    assert len(set(codes)) == len(codes)
    assert all(code == code.lower() and " " not in code for code in codes)
