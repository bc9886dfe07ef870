"""Each call of the strongbox x what it may return: what is tried again, what is raised, and that it works again.

The faults are below python-pkcs11 and ctypes alike (tests/hsm/shim.c), on real SoftHSM tokens.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from hsm.errors import HsmError, PinIncorrect
from hsm.faults import RETURN_VALUES, Fault, fault_of
from hsm.keys import KeyName
from hsm.strongbox import RELOAD_INTERVAL, Strongbox
from tests.hsm.shim import FOREVER, Shim
from tests.softhsm import make_token

# A search that fails is finished once more when python-pkcs11 collects it, and that can only fail again.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SAMPLES: Final[Mapping[Fault, tuple[str, ...]]] = {
    Fault.RETRY: ("CKR_SESSION_HANDLE_INVALID", "CKR_OBJECT_HANDLE_INVALID", "CKR_OPERATION_ACTIVE"),
    Fault.RELOAD: ("CKR_DEVICE_REMOVED", "CKR_CRYPTOKI_NOT_INITIALIZED"),
    Fault.STOP: ("CKR_KEY_FUNCTION_NOT_PERMITTED",),
    Fault.CALLER: ("CKR_MECHANISM_INVALID",),
    Fault.OTHER: ("CKR_GENERAL_ERROR", "CKR_DEVICE_MEMORY"),
}
CODES: Final = {
    Fault.RETRY: "hsm-call-failed",
    Fault.RELOAD: "hsm-token-unavailable",
    Fault.STOP: "hsm-key-altered",
    Fault.CALLER: "hsm-call-refused",
    Fault.OTHER: "hsm-call-failed",
}
MENDED: Final = (Fault.RETRY, Fault.RELOAD)
# What the closing of a lost session says is of no use to anybody. A failed C_GetAttributeValue is asked again by
# python-pkcs11, attribute by attribute.
UNHEARD: Final = {"C_CloseSession"}
ASKED_AGAIN: Final = {"C_GetAttributeValue"}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A strongbox above a shim, and what it may be asked."""

    def __init__(self, path: Path) -> None:
        settings = make_token(path, "keys")
        self.clock = Clock()
        self.shim = Shim(path)
        self.box = Strongbox.open(self.shim.path, [settings], clock=self.clock)
        self.key: KeyName = self.box.generate("keys", bytes(16), "k", "p256").name
        self.asked: dict[str, Callable[[], object]] = {
            "sign": lambda: self.box.sign(self.key, b"data"),
            "open and sign": self.open_and_sign,
            "exists": lambda: self.box.exists("keys", self.key.id),
            "random": lambda: self.box.random(8),
            "inventory": self.box.inventory,
            "read memos": lambda: self.box.read_memos("keys", "note"),
            "write memo": lambda: self.box.write_memo("keys", "note", b"text"),
            "generate": lambda: self.box.generate("keys", secrets.token_bytes(16), "new", "p256"),
            "destroy": self.destroy,
        }

    def open_and_sign(self) -> None:
        """Log in anew, find the key anew, sign."""
        self.box._once(lambda seat: seat.forget("keys"))
        self.box.sign(self.key, b"data")

    def destroy(self) -> None:
        """Destroy a key; it is made where the shim does no harm."""
        self.box.destroy("keys", self.victim)

    def prepare(self) -> None:
        """No fault, no memory of one, the next reload allowed."""
        self.shim.heal()
        self.clock.now += RELOAD_INTERVAL
        self.box._register._stopped.clear()
        self.box.random(1)
        self.victim = secrets.token_bytes(16)

    def attempt(self, name: str) -> str:
        """`ok`, or the code of the error and the value that it names."""
        try:
            self.asked[name]()
        except HsmError as error:
            assert error.message
            assert error.hint
            return f"{error.code} {error.rv}"
        return "ok"

    def count(self, name: str) -> dict[str, int]:
        """Which functions the request calls when nothing fails, and how often."""
        self.prepare()
        assert self.attempt(name) == "ok"
        self.victim = secrets.token_bytes(16)
        before = self.shim.all_calls()
        assert self.attempt(name) == "ok"
        return {
            function: count - before.get(function, 0)
            for function, count in self.shim.all_calls().items()
            if count > before.get(function, 0)
        }


@pytest.fixture
def bench(token_dir: Path) -> Iterator[Bench]:
    made = Bench(token_dir)
    yield made
    made.shim.heal()
    made.box.close()


@pytest.mark.req("HS-9")
@pytest.mark.parametrize("function", ["C_SignInit", "C_Sign"])
def test_each_return_value_of_a_signature_has_its_class(bench: Bench, function: str) -> None:
    """Once: mended or told. For ever: told. Healed: it works, unless a person must look first."""
    for _, rv, _, fault in RETURN_VALUES:
        bench.prepare()
        assert bench.attempt("sign") == "ok"
        calls, loads = bench.shim.calls(function), bench.shim.calls("C_Initialize")
        bench.shim.fail(function, rv)
        once = bench.attempt("sign")
        tries = bench.shim.calls(function) - calls
        reloads = bench.shim.calls("C_Initialize") - loads
        if fault in MENDED:
            assert (rv, once, tries, reloads) == (rv, "ok", 2, int(fault is Fault.RELOAD))
        else:
            assert (rv, once.split()[1], tries, reloads) == (rv, rv, 1, 0)
        again = bench.attempt("sign")
        assert (rv, again == "ok") == (rv, fault is not Fault.STOP)
        assert bench.shim.calls(function) - calls == (tries if fault is Fault.STOP else tries + 1), rv


@pytest.mark.req("HS-9")
@pytest.mark.parametrize("name", ["sign", "open and sign", "exists", "random", "inventory", "read memos", "write memo"])
def test_every_call_of_a_request_follows_its_class(bench: Bench, name: str) -> None:
    for function, normal in bench.count(name).items():
        if function in UNHEARD:
            continue
        for fault, rv in ((fault, rv) for fault, values in SAMPLES.items() for rv in values):
            where = f"{function} {rv}"
            bench.prepare()
            bench.shim.fail(function, rv)
            heard = function not in ASKED_AGAIN and fault not in MENDED
            assert (where, bench.attempt(name)) == (where, f"{CODES[fault]} {rv}" if heard else "ok")
            bench.prepare()
            loads, calls = bench.shim.calls("C_Initialize"), bench.shim.calls(function)
            bench.shim.fail(function, rv, times=FOREVER)
            assert (where, bench.attempt(name)) == (where, f"{CODES[fault]} {rv}")
            assert bench.shim.calls("C_Initialize") - loads == int(fault is Fault.RELOAD), where
            assert bench.shim.calls(function) - calls <= (normal + 4) * (2 if fault in MENDED else 1), where
            bench.prepare()
            assert (where, bench.attempt(name)) == (where, "ok")


@pytest.mark.req("HS-9", "HS-1")
def test_a_generation_that_fails_anywhere_leaves_no_object(bench: Bench) -> None:
    """It is not tried again: what the first try left behind is destroyed, as soon as the token lets us."""
    kept = {item.id for item in bench.box.inventory()[0].objects}
    for function, count in bench.count("generate").items():
        for fault, rv in ((fault, values[0]) for fault, values in SAMPLES.items()):
            for skip in {0, count - 1}:
                where = f"{function} {rv} after {skip}"
                bench.prepare()
                bench.shim.fail(function, rv, skip=skip)
                calls = bench.shim.calls("C_GenerateKeyPair")
                result = bench.attempt("generate")
                assert bench.shim.calls("C_GenerateKeyPair") - calls <= 1, where
                bench.prepare()
                found = {item.id for item in bench.box.inventory()[0].objects}
                kept |= found if result == "ok" else set()
                assert (where, fault, found <= kept) == (where, fault, True)


@pytest.mark.req("HS-9", "KL-11")
def test_a_destruction_that_fails_anywhere_can_be_done_again(bench: Bench) -> None:
    calls = ("C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal", "C_DestroyObject", "C_GetSessionInfo")
    for function in calls:
        for fault, rv in ((fault, values[0]) for fault, values in SAMPLES.items()):
            where = f"{function} {rv}"
            bench.prepare()
            bench.box.generate("keys", bench.victim, "victim", "p256")
            bench.shim.fail(function, rv)
            assert (where, bench.attempt("destroy") == "ok") == (where, fault in MENDED)
            victim = bench.victim
            bench.prepare()
            bench.victim = victim
            assert (where, bench.attempt("destroy")) == (where, "ok")
            assert not bench.box.exists("keys", victim), where


@pytest.mark.req("HS-5", "T31")
@pytest.mark.parametrize("rv", [rv for _, rv, _, _ in RETURN_VALUES if rv.startswith("CKR_PIN_")])
def test_a_pin_is_never_tried_twice(bench: Bench, rv: str) -> None:
    """Neither by a new session nor by a reload nor by whoever asks next."""
    assert fault_of(rv) is Fault.STOP
    bench.prepare()
    bench.shim.fail("C_Login", rv, times=FOREVER)
    calls = bench.shim.calls("C_Login")
    assert bench.attempt("open and sign").endswith(rv)
    for name in ("sign", "exists", "random", "inventory", "open and sign"):
        assert bench.attempt(name).endswith(rv)
    assert bench.shim.calls("C_Login") == calls + 1


@pytest.mark.req("HS-5")
def test_a_pin_that_is_wrong_after_a_reload_stops_its_token(bench: Bench) -> None:
    bench.shim.fail("C_Sign", "CKR_DEVICE_REMOVED")
    bench.shim.fail("C_Login", "CKR_PIN_INCORRECT", times=FOREVER)
    calls = bench.shim.calls("C_Login")
    for _ in range(3):
        with pytest.raises(PinIncorrect):
            bench.box.sign(bench.key, b"data")
        bench.clock.now += RELOAD_INTERVAL
    assert bench.shim.calls("C_Login") == calls + 1


def test_a_login_that_fails_leaves_no_session_open(bench: Bench) -> None:
    """A token has a limited number of sessions; a fault that stays for an hour must not use them up."""
    bench.box._once(lambda seat: seat.forget("keys"))
    opened, closed = bench.shim.calls("C_OpenSession"), bench.shim.calls("C_CloseSession")
    bench.shim.fail("C_Login", "CKR_FUNCTION_FAILED", times=FOREVER)
    for _ in range(5):
        assert bench.attempt("sign") == "hsm-call-failed CKR_FUNCTION_FAILED"
    assert bench.shim.calls("C_OpenSession") - opened == bench.shim.calls("C_CloseSession") - closed == 5


def test_no_more_sessions_is_told_and_passes(bench: Bench) -> None:
    bench.shim.fail("C_OpenSession", "CKR_SESSION_COUNT", times=2)
    for _ in range(2):
        assert bench.attempt("open and sign") == "hsm-call-failed CKR_SESSION_COUNT"
    assert bench.attempt("open and sign") == "ok"


@pytest.mark.req("HS-9")
def test_a_reload_that_fails_is_tried_again_after_thirty_seconds(bench: Bench) -> None:
    """C_Initialize fails, too: the module is down, and comes back without a restart of the process."""
    bench.shim.fail("C_Sign", "CKR_DEVICE_REMOVED")
    bench.shim.fail("C_Initialize", "CKR_DEVICE_ERROR")
    assert bench.attempt("sign") == "hsm-token-unavailable CKR_DEVICE_ERROR"
    assert bench.attempt("sign") == "hsm-token-unavailable CKR_CRYPTOKI_NOT_INITIALIZED"
    bench.clock.now += RELOAD_INTERVAL
    assert bench.attempt("sign") == "ok"
