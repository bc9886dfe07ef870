from pki.errors import PkiError
from pki.trust import errors


def leaves(root: type[PkiError]) -> list[type[PkiError]]:
    below = root.__subclasses__()
    return [leaf for child in below for leaf in leaves(child)] if below else [root]


def test_every_leaf_has_its_own_code_and_says_what_it_means() -> None:
    found = [leaf for leaf in leaves(errors.TrustError) if leaf.__module__ == errors.__name__]
    codes = [leaf.code for leaf in found]
    assert len(set(codes)) == len(codes) > 20
    assert all("code" in vars(leaf) and leaf.__doc__ for leaf in found)


def test_cbor_errors_carry_the_offset_and_the_hint() -> None:
    error = errors.CborTrailing("bytes follow", offset=7, hint="cut them")
    assert (error.offset, error.hint, error.message) == (7, "cut them", "bytes follow at byte 7")
