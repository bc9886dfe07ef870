from pathlib import Path

import pytest
from pkcs11.exceptions import DeviceError

from hsm.errors import PinIncorrect, RequestInvalid, TokenReplaced, TokenUnavailable
from hsm.seat import Register, Seat
from hsm.strongbox import Strongbox
from hsm.tokens import TokenSettings
from tests.softhsm import write_pin


class Clock:
    """A clock that counts how often it was read."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_a_call_is_timed_and_its_errors_are_translated(box: Strongbox) -> None:
    seat = Seat(box._module, box._register, Clock(), 0)
    assert seat.since is None
    seen: list[object] = []

    def fail() -> None:
        with seat.calling("C_FindObjects", "token a"):
            seen.extend((seat.since, *seat.call))
            raise DeviceError

    with pytest.raises(TokenUnavailable, match="token a, C_FindObjects: CKR_DEVICE_ERROR"):
        fail()
    assert seen == [1.0, "C_FindObjects", "token a"]
    assert seat.since is None


def test_sessions_are_kept_until_forgotten(box: Strongbox) -> None:
    seat = Seat(box._module, box._register, Clock(), 0)
    session = seat.session("keys")
    assert seat.session("keys") is session
    seat.forget("keys")
    seat.forget("keys")
    assert seat.session("keys") is not session


def test_a_token_outside_the_settings_is_not_opened(box: Strongbox) -> None:
    with pytest.raises(RequestInvalid, match="token other is not in the settings"):
        box._find_seat().session("other")


def test_a_token_with_another_serial_is_refused(box: Strongbox) -> None:
    register = Register(box._register.tokens)
    register.found["keys"] = box._register.found["journal"]
    with pytest.raises(TokenReplaced, match="at the start it was") as caught:
        Seat(box._module, register, Clock(), 0).session("keys")
    assert "journal" in caught.value.hint


@pytest.mark.req("HS-5")
def test_a_wrong_pin_is_not_tried_a_second_time(box: Strongbox, tmp_path: Path) -> None:
    """After the first refusal the source holds the right PIN, and still the token is not asked again."""
    right = box._register.tokens["keys"].pin
    box.close()
    box._module.initialise()
    pin_file = tmp_path / "wrong.pin"
    register = Register({"keys": TokenSettings("keys", write_pin(pin_file, "wrong-pin"))})
    seat = Seat(box._module, register, Clock(), 0)
    with pytest.raises(PinIncorrect, match="token keys, C_Login: CKR_PIN_INCORRECT"):
        seat.session("keys")
    with right.reveal() as pin:
        pin_file.write_bytes(pin.raw)
    with pytest.raises(PinIncorrect, match="stopped earlier"):
        seat.session("keys")
    box._module.finalise()


@pytest.mark.parametrize("count", [-1, 0, 1025])
def test_random_bytes_have_limits(box: Strongbox, count: int) -> None:
    with pytest.raises(RequestInvalid):
        box._find_seat().draw_random("keys", count)
