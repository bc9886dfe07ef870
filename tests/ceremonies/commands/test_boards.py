"""The screen of a line."""

import msgspec
import pytest

from ceremonies.commands import STAFF, ShowLineBoard
from tests.ceremonies.commands.framed import decode_command


@pytest.mark.parametrize("plant", ["", "../graz", "g" * 65, "graz\n", "<b>"])
def test_a_plant_is_a_name(plant: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_command({"do": "show-line-board", "plant": plant})


@pytest.mark.req("AZ-2")
def test_people_of_a_plant_and_its_stations_may_look() -> None:
    assert ShowLineBoard.roles == STAFF | {"station"}
    assert decode_command({"do": "show-line-board", "plant": "graz"}).command == ShowLineBoard("graz")
