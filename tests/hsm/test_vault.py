"""Tokens at several places: copies of a SoftHSM token behind shims that fail."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hsm.algorithms import ALGORITHMS, load_public_key, verify
from hsm.circuit import FAILURES, PAUSE
from hsm.errors import (
    CircuitOpen,
    HsmError,
    KeyAltered,
    KeyNotFound,
    PinIncorrect,
    PublicKeyDiffers,
    StrongboxClosed,
    TokenNotFound,
    TokenUnavailable,
)
from hsm.faults import Fault
from hsm.keys import GeneratedKey, KeyName
from hsm.places import PlaceSettings
from hsm.strongbox import RELOAD_INTERVAL, Strongbox
from hsm.vault import Vault
from tests.hsm.devices import Clock, make_device, open_vault, place_tokens
from tests.hsm.shim import FOREVER, Shim
from tests.softhsm import fresh_strongbox

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Pair:
    """Two devices with copies of one token, `keys`, and a second token, `journal`, on the first alone."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        with fresh_strongbox(path / "a", ["keys", "journal"]) as box:
            self.key: GeneratedKey = box.generate("keys", secrets.token_bytes(16), "k", "p256")
            self.probe = box.generate("keys", secrets.token_bytes(16), "probe", "p256")
            self.log = box.generate("journal", secrets.token_bytes(16), "journal", "ed25519")
        self.first = make_device(path / "a")
        self.second = make_device(path / "b", path / "a")
        self.vault: Vault

    def open(self) -> Vault:
        places = place_tokens([self.first], ["keys", "journal"]) + place_tokens([self.second], ["keys"])
        self.vault = Vault.open(places, clock=self.clock)
        return self.vault

    def sign(self) -> None:
        signature = self.vault.sign(self.key.name, b"data")
        verify(ALGORITHMS["p256"], load_public_key(self.key.public_key), signature, b"data")


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setenv("SOFTHSM2_CONF", "/nonexistent")
    made = Pair(tmp_path)
    made.open()
    yield made
    made.first.heal()
    made.second.heal()
    made.vault.close()


def outage(shim: Shim) -> None:
    """Nothing that signs or opens works any more."""
    for function in ("C_SignInit", "C_OpenSession", "C_GetSessionInfo", "C_GenerateRandom", "C_GetSlotList"):
        shim.fail(function, "CKR_DEVICE_REMOVED", times=FOREVER)


@pytest.mark.req("HS-9")
def test_the_first_place_signs_while_it_is_well(pair: Pair) -> None:
    for _ in range(3):
        pair.sign()
    assert (pair.first.calls("C_Sign"), pair.second.calls("C_Sign")) == (3, 0)
    assert [report.is_open for report in pair.vault.reports] == [False, False, False]


@pytest.mark.req("HS-9", "HS-2")
def test_the_clone_signs_when_the_first_place_is_away_and_no_longer_when_it_is_back(pair: Pair) -> None:
    pair.sign()
    outage(pair.first)
    for _ in range(FAILURES + 3):
        pair.sign()
    assert pair.second.calls("C_Sign") == FAILURES + 3
    report = pair.vault.reports[0]
    assert (report.is_open, report.failures) == (True, FAILURES)
    asked = pair.first.all_calls()
    pair.sign()
    assert pair.first.all_calls() == asked, "a place that rests was asked"
    pair.clock.now += PAUSE
    pair.vault.tend([pair.probe.name])
    assert (pair.vault.reports[0].probes, pair.vault.reports[0].failed_probes) == (1, 1)
    pair.first.heal()
    pair.clock.now += RELOAD_INTERVAL
    pair.vault.tend([pair.probe.name])
    assert (pair.vault.reports[0].is_open, pair.vault.reports[0].probes) == (False, 2)
    before = pair.second.calls("C_Sign")
    pair.sign()
    assert pair.second.calls("C_Sign") == before


@pytest.mark.req("HS-9", "HS-4")
@pytest.mark.parametrize("sessions", [1, 8])
def test_a_series_is_signed_and_goes_on_at_the_clone(pair: Pair, sessions: int) -> None:
    pair.vault.close()
    pair.vault = open_vault([pair.first, pair.second], ["keys"], pair.clock, sessions=sessions)
    names = [pair.key.name, msgspec.structs.replace(pair.key.name, spki="0" * 64), pair.probe.name]
    items = [(names[number % 3], b"%d" % number) for number in range(24)]
    for _ in range(2):
        signed = pair.vault.start(items).wait()
        for number, item in enumerate(signed):
            if number % 3 == 1:
                assert isinstance(item.error, PublicKeyDiffers)
                continue
            key = (pair.key, None, pair.probe)[number % 3]
            assert key is not None
            verify(ALGORITHMS["p256"], load_public_key(key.public_key), item.raw, b"%d" % number)
        outage(pair.first)
    assert pair.second.calls("C_Sign") == 16
    assert list(pair.vault.start([]).wait()) == []


def test_what_fails_a_whole_series_is_the_error_of_each_of_its_items(pair: Pair) -> None:
    """The warden goes on and says so."""
    pair.vault.close()
    signed = pair.vault.start([(pair.key.name, b"1"), (pair.key.name, b"2")]).wait()
    assert [type(item.error) for item in signed] == [StrongboxClosed] * 2


@pytest.mark.req("HS-9")
def test_a_token_without_a_clone_is_refused_fast_while_it_rests(pair: Pair) -> None:
    vault, journal = pair.vault, pair.log.name
    vault.sign(journal, b"head")
    pair.first.fail("C_Sign", "CKR_FUNCTION_FAILED", times=FOREVER)
    for _ in range(FAILURES):
        vault.check_ready("journal")
        with pytest.raises(HsmError, match="CKR_FUNCTION_FAILED"):
            vault.sign(journal, b"head")
    calls = pair.first.all_calls()
    for ask in (lambda: vault.sign(journal, b"head"), lambda: vault.check_ready("journal")):
        with pytest.raises(CircuitOpen, match=r"journal.*rests after 5 failures.*CKR_FUNCTION_FAILED") as caught:
            ask()
        assert (caught.value.details, caught.value.fault) == ({"retry_after": int(PAUSE)}, Fault.RELOAD)
        assert {token: error.message for token, error in vault.resting.items()} == {"journal": caught.value.message}
    assert pair.first.all_calls() == calls
    vault.check_ready("keys")
    vault.vital = ("journal",)
    with pytest.raises(CircuitOpen):
        vault.check_ready("keys")
    pair.clock.now += PAUSE
    pair.first.heal()
    vault.tend([pair.probe.name])
    vault.check_ready("keys")
    assert vault.sign(journal, b"head")


@pytest.mark.req("HS-9")
def test_a_probe_never_uses_a_production_key(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe key signs; where it does not exist, random bytes must do."""
    outage(pair.first)
    outage(pair.second)
    for _ in range(FAILURES):
        with pytest.raises(HsmError):
            pair.sign()
    pair.first.heal()
    pair.second.heal()
    pair.clock.now += RELOAD_INTERVAL
    signed: list[tuple[KeyName, bytes]] = []
    real = Strongbox.sign

    def watched(box: Strongbox, key: KeyName, data: bytes) -> bytes:
        signed.append((key, data))
        return real(box, key, data)

    monkeypatch.setattr(Strongbox, "sign", watched)
    pair.vault.tend([pair.probe.name])
    assert [report.is_open for report in pair.vault.reports] == [False, False, False]
    assert [key for key, _ in signed] == [pair.probe.name] * 2
    assert all(data.startswith(b"kedge probe v1\n") for _, data in signed)
    assert len({data for _, data in signed}) == 2


@pytest.mark.req("HS-9")
@pytest.mark.parametrize("rv", ["CKR_KEY_FUNCTION_NOT_PERMITTED", "CKR_MECHANISM_INVALID"])
def test_what_a_person_must_see_is_not_taken_to_the_clone(pair: Pair, rv: str) -> None:
    pair.sign()
    pair.first.fail("C_SignInit", rv)
    with pytest.raises(HsmError, match=rv):
        pair.sign()
    assert pair.second.calls("C_Sign") == 0
    assert pair.vault.reports[0].failures == 0


@pytest.mark.req("HS-2")
def test_a_clone_that_holds_another_key_is_not_used(pair: Pair) -> None:
    """The object handle is checked by CKA_ID and public key at each place."""
    other = msgspec.structs.replace(pair.key.name, spki="0" * 64)
    with pytest.raises(PublicKeyDiffers):
        pair.vault.sign(other, b"data")
    made = pair.vault.generate("keys", secrets.token_bytes(16), "late", "p256")
    assert made.name.token == "keys"
    outage(pair.first)
    with pytest.raises(HsmError) as caught:
        pair.vault.sign(made.name, b"data")
    assert caught.value.rv == "CKR_DEVICE_REMOVED", "what the token said is told, not that the clone lacks the key"
    assert pair.vault.reports[1].failures == 0


def test_keys_are_made_at_the_first_place_alone(pair: Pair) -> None:
    outage(pair.first)
    for _ in range(FAILURES):
        with pytest.raises(TokenUnavailable):
            pair.vault.generate("keys", secrets.token_bytes(16), "k", "p256")
    with pytest.raises(CircuitOpen):
        pair.vault.generate("keys", secrets.token_bytes(16), "k", "p256")
    assert pair.second.calls("C_GenerateKeyPair") == 0


@pytest.mark.req("KL-11")
def test_a_key_is_destroyed_at_every_place_or_not_at_all(pair: Pair) -> None:
    pair.sign()
    outage(pair.second)
    for _ in range(FAILURES):
        pair.vault.inventory()
    with pytest.raises(CircuitOpen):
        pair.vault.destroy("keys", pair.key.name.id)
    assert pair.vault.exists("keys", pair.key.name.id)
    pair.second.heal()
    pair.clock.now += RELOAD_INTERVAL
    pair.vault.tend([pair.probe.name])
    assert pair.vault.destroy("keys", pair.key.name.id)
    assert not pair.vault.exists("keys", pair.key.name.id)
    assert not pair.vault.destroy("keys", pair.key.name.id)
    assert [len(token.objects) for token in pair.vault.inventory()] == [2, 2, 2]


def test_nothing_is_guessed_of_a_place_that_is_away(pair: Pair) -> None:
    outage(pair.second)
    assert pair.vault.exists("keys", pair.key.name.id)
    with pytest.raises(TokenUnavailable):
        pair.vault.exists("keys", secrets.token_bytes(16))


def test_an_inventory_leaves_out_what_is_away(pair: Pair) -> None:
    assert [(token.label, len(token.objects)) for token in pair.vault.inventory()] == [
        ("keys", 4),
        ("keys", 4),
        ("journal", 2),
    ]
    outage(pair.second)
    assert [token.label for token in pair.vault.inventory()] == ["keys", "journal"]


@pytest.mark.req("HS-9")
def test_a_start_without_the_first_device_uses_the_clone_until_it_comes(tmp_path: Path, pair: Pair) -> None:
    pair.vault.close()
    pair.first.fail("C_Initialize", "CKR_DEVICE_REMOVED", times=FOREVER)
    with pytest.raises(HsmError, match="CKR_DEVICE_REMOVED"):
        pair.open()  # the journal has no other place
    pair.vault = open_vault([pair.first, pair.second], ["keys"], pair.clock)
    assert [report.is_open for report in pair.vault.reports] == [True, False]
    pair.sign()
    assert len(pair.vault.random(8)) == 8
    assert pair.vault.token_serial("keys") == pair.key.token_serial
    pair.first.heal()
    pair.clock.now += RELOAD_INTERVAL
    pair.vault.tend([pair.probe.name])
    assert [report.is_open for report in pair.vault.reports] == [False, False]
    before = pair.first.calls("C_Sign")
    pair.sign()
    assert pair.first.calls("C_Sign") == before + 1


@pytest.mark.req("HS-9")
def test_an_opening_under_way_is_seen(pair: Pair) -> None:
    pair.vault.close()
    seen: list[tuple[float | None, tuple[str, ...]]] = []

    def look() -> float:
        if len(seen) < 9:
            seen.append((pair.vault.opening_since, pair.vault.calls[:1]))
        return 1000.0

    pair.vault = Vault(place_tokens([pair.first], ["keys"]), clock=look)
    assert (pair.vault.opening_since, pair.vault.calls) == (None, ())
    pair.vault.log_in()
    assert seen[-1] == (1000.0, (f"opening module {pair.first.path}",))
    assert (pair.vault.opening_since, pair.vault.calls) == (None, ())


@pytest.mark.req("HS-5")
def test_a_wrong_pin_at_any_place_stops_the_start(pair: Pair) -> None:
    pair.vault.close()
    pair.second.fail("C_Login", "CKR_PIN_INCORRECT", times=FOREVER)
    with pytest.raises(PinIncorrect):
        pair.open()
    assert pair.second.calls("C_Login") == 2


def test_a_token_of_one_label_is_found_by_its_serial(pair: Pair) -> None:
    pair.vault.close()
    (place,) = place_tokens([pair.second], ["keys"])
    serial = pair.key.token_serial
    right = msgspec.structs.replace(place, settings=msgspec.structs.replace(place.settings, serial=serial))
    assert right.settings.name == f"keys@{serial}"
    with Strongbox.open(right.module, [right.settings]) as box:
        assert box.token_serial(right.settings.name) == serial
    pair.vault = Vault.open([right], clock=pair.clock)
    pair.sign()
    assert [token.label for token in pair.vault.inventory()] == ["keys"]
    wrong = msgspec.structs.replace(place, settings=msgspec.structs.replace(place.settings, serial="0" * 16))
    pair.vault.close()
    with pytest.raises(TokenNotFound, match="with serial 0000000000000000"):
        Vault.open([PlaceSettings("keys", wrong.module, wrong.settings)])


def test_what_was_stopped_is_told(pair: Pair) -> None:
    pair.sign()
    pair.first.fail("C_SignInit", "CKR_KEY_CHANGED")
    with pytest.raises(KeyAltered):
        pair.sign()
    ((key_id, why),) = pair.vault.stopped
    assert key_id == pair.key.name.id
    assert "CKR_KEY_CHANGED" in why


def test_calls_and_software_are_seen_through(pair: Pair) -> None:
    assert pair.vault.is_software
    assert (pair.vault.in_call_since, pair.vault.calls) == (None, ())
    with pytest.raises(TokenNotFound, match="not in the settings"):
        pair.vault.exists("other", bytes(16))
    with pytest.raises(KeyNotFound):
        pair.vault.sign(msgspec.structs.replace(pair.key.name, id=bytes(16)), b"data")


@pytest.mark.req("HS-9")
def test_a_memo_is_kept_at_every_place_that_answers(pair: Pair) -> None:
    vault = pair.vault
    vault.write_memo("keys", "note", b"first")
    assert vault.read_memos("keys", "note") == (b"first", b"first")
    pair.first.fail("C_FindObjectsInit", "CKR_GENERAL_ERROR", times=FOREVER)
    vault.write_memo("keys", "note", b"second")
    assert vault.read_memos("keys", "note") == (b"second",)
    pair.second.fail("C_FindObjectsInit", "CKR_GENERAL_ERROR", times=FOREVER)
    with pytest.raises(HsmError, match="CKR_GENERAL_ERROR"):
        vault.read_memos("keys", "note")
    for device in (pair.first, pair.second):
        device.heal()
    assert sorted(vault.read_memos("keys", "note")) == [b"first", b"second"], "its reader must cope with an older one"
