from collections.abc import Iterator
from pathlib import Path

import pytest

from hsm.circuit import FAILURES
from hsm.errors import CircuitOpen, HsmError, PinIncorrect, SoftwareRefused, TokenUnavailable
from hsm.keys import KeyName
from hsm.places import Device, Place
from hsm.strongbox import RELOAD_INTERVAL
from tests.hsm.devices import Clock, make_device, place_tokens
from tests.hsm.shim import FOREVER, Shim
from tests.softhsm import fresh_strongbox


@pytest.fixture
def shim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shim:
    monkeypatch.setenv("SOFTHSM2_CONF", "/nonexistent")
    fresh_strongbox(tmp_path / "a", ["keys"]).close()
    return make_device(tmp_path / "a")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def device(shim: Shim, clock: Clock) -> Iterator[Device]:
    (place,) = place_tokens([shim], ["keys"])
    made = Device(place.module, [place.settings], os_locking=False, clock=clock)
    yield made
    if made.opened is not None:
        made.opened.close()


def test_a_device_that_was_away_is_tried_again_every_thirty_seconds(device: Device, shim: Shim, clock: Clock) -> None:
    shim.fail("C_Initialize", "CKR_DEVICE_REMOVED", times=2)
    with pytest.raises(HsmError, match="C_Initialize: CKR_DEVICE_REMOVED"):
        device.open([])
    clock.now += RELOAD_INTERVAL - 1
    for _ in range(3):
        with pytest.raises(TokenUnavailable, match=r"CKR_DEVICE_REMOVED \(29 s ago\)"):
            device.box.close()
    assert shim.calls("C_Initialize") == 1
    clock.now += 1
    with pytest.raises(TokenUnavailable):
        device.box.close()
    clock.now += RELOAD_INTERVAL
    assert device.box.has_found("keys")
    assert shim.calls("C_Initialize") == 3


@pytest.mark.req("HS-5")
def test_a_device_that_refused_the_pin_is_not_opened_again(device: Device, shim: Shim, clock: Clock) -> None:
    shim.fail("C_Login", "CKR_PIN_INCORRECT", times=FOREVER)
    for _ in range(3):
        with pytest.raises(PinIncorrect):
            device.box.close()
        clock.now += RELOAD_INTERVAL
    assert shim.calls("C_Login") == 1


@pytest.mark.req("HS-6")
def test_a_software_token_that_comes_later_is_refused_where_hardware_is_asked_for(device: Device, shim: Shim) -> None:
    device.hardware_only = True
    for _ in range(2):
        with pytest.raises(SoftwareRefused, match="is SoftHSM"):
            device.box.close()
    assert device.opened is None
    assert shim.calls("C_Initialize") == shim.calls("C_Finalize") == 1


def test_a_place_counts_outages_and_rests(device: Device, shim: Shim, clock: Clock) -> None:
    (settings,) = place_tokens([shim], ["keys"])
    place = Place(settings, device, clock)
    assert place.attempt(lambda box, name: box.random(8, name))
    shim.fail("C_GenerateRandom", "CKR_DEVICE_ERROR", times=FOREVER)
    for _ in range(FAILURES):
        with pytest.raises(TokenUnavailable):
            place.attempt(lambda box, name: box.random(8, name))
    with pytest.raises(CircuitOpen, match=r"keys in shim\.so"):
        place.attempt(lambda box, name: box.random(8, name))
    assert place.report.why.endswith("s ago")
    shim.heal()
    place.probe(None)
    assert (place.report.is_open, place.report.probes, place.report.why) == (False, 1, "")
    assert len(place.take_inventory().objects) == 0


def test_a_key_is_named_as_its_place_knows_it(device: Device, shim: Shim) -> None:
    (settings,) = place_tokens([shim], ["keys"])
    place = Place(settings, device)
    other = KeyName("elsewhere", bytes(16), "0" * 64, "k")
    assert place.localise(other) == KeyName("keys", bytes(16), "0" * 64, "k")
    assert place.localise(other) is place.localise(other)
    own = place.localise(other)
    assert place.localise(own) is own
