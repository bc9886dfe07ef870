import re
from typing import Any, get_args

import msgspec
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from api.routes import ceremonies, encodings, keys, receipts, releases
from ceremonies import commands


class Holder(BaseModel):
    value: encodings.Octets


@pytest.mark.parametrize(("text", "value"), [("", b""), ("AA==", b"\0"), ("+/8=", b"\xfb\xff")])
def test_bytes_travel_as_base64(text: str, value: bytes) -> None:
    assert Holder.model_validate({"value": text}).value == value
    assert Holder(value=value).model_dump(mode="json") == {"value": text}


@pytest.mark.parametrize("text", ["A", "AA", "AA==\n", "A A=", "-_8=", "AAé="])
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="base64"):
        Holder.model_validate({"value": text})


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (encodings.Hex32, commands.Hex32),
        (encodings.Name, commands.Name),
        (encodings.Text, commands.Text),
        (encodings.RequestId, commands.RequestId),
    ],
)
def test_limits_of_names_are_the_keyrooms(mine: Any, theirs: Any) -> None:
    schema = TypeAdapter(mine).json_schema()
    meta = get_args(theirs)[1]
    found = schema.get("minLength"), schema.get("maxLength"), schema.get("pattern")
    # pydantic's `$` is the end of the text; Python's also stands before a last newline, and `\\Z` does not.
    assert found == (meta.min_length, meta.max_length, meta.pattern and meta.pattern.replace("\\Z", "$"))


@pytest.mark.parametrize(
    ("body", "command"),
    [
        (ceremonies.CeremonyIn, commands.OpenCeremony),
        (ceremonies.DecisionIn, commands.DecideStep),
        (releases.ReleaseIn, commands.SignRelease),
        (receipts.ReceiptsIn, commands.SubmitReceipts),
        (receipts.ChallengeIn, commands.OpenChallenge),
        (keys.SuspensionIn, commands.SuspendKey),
    ],
)
def test_bodies_have_the_fields_of_their_commands(body: type[BaseModel], command: type[commands.Command]) -> None:
    fields = {field.name for field in msgspec.structs.fields(command)}
    assert set(body.model_fields) <= fields
    assert fields - set(body.model_fields) <= {"id", "step", "label"}


@pytest.mark.parametrize("value", ["a\n", "\na", "a b", "", "ä", "a" * 65, "-a", "a/b", "../a"])
def test_odd_names_are_no_names(value: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(encodings.Name).validate_python(value)


def test_patterns_are_linear() -> None:
    for pattern in (encodings.HEX32, encodings.NAME, encodings.REQUEST_ID):
        assert not re.search(r"[+*}]\)?[+*{]", pattern)
