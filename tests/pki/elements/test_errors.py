from pki.elements import errors
from pki.elements.errors import ElementError


def test_every_leaf_has_its_own_code() -> None:
    leaves = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ElementError)]
    assert len({leaf.code for leaf in leaves}) == len(leaves) == 5
