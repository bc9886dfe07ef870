from api.cli import errors
from api.cli.errors import CliError
from api.cli.provisioning.exits import Exit


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = [kind for kind in CliError.__subclasses__() if kind is not errors.ServiceRefused]
    codes = [vars(kind)["code"] for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert {errors.REFUSED, errors.USAGE, errors.AWAY} <= {kind.status for kind in kinds} <= set(Exit)
