from pki.cmp import errors
from pki.cmp.errors import CmpError
from pki.errors import PkiError


def test_each_error_is_of_the_room_and_has_a_code() -> None:
    kinds = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, CmpError)]
    assert len({kind.code for kind in kinds}) == len(kinds) == 5
    assert issubclass(CmpError, PkiError)
