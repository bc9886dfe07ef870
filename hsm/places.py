"""Places: a token in a module, behind its circuit. A device is a module with the tokens that a keyroom has there."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from hsm.circuit import Circuit, PlaceReport, is_outage, may_move
from hsm.errors import CircuitOpen, HsmError, KeyNotFound, SoftwareRefused, TokenNotFound, TokenUnavailable
from hsm.inventory import TokenInventory
from hsm.keys import KeyName
from hsm.strongbox import RELOAD_INTERVAL, Strongbox
from hsm.tokens import TokenSettings

Result = TypeVar("Result")
Clock = Callable[[], float]

PROBE_PREFIX: Final = b"kedge probe v1\n"
"""What a probe signs begins with this, as no document of Kedge does."""


class PlaceSettings(msgspec.Struct, frozen=True):
    """Where a token is: its name in the keyroom, the module, and what finds it and opens it there."""

    token: str
    module: Path
    settings: TokenSettings


class Device:
    """One module, opened when it is needed: at the start, or later when it was away then."""

    def __init__(self, module: Path, tokens: Sequence[TokenSettings], *, os_locking: bool, clock: Clock) -> None:
        self._module = module
        self.tokens = tuple(tokens)
        self._os_locking = os_locking
        self._clock = clock
        self._failed: HsmError | None = None
        self._tried = -RELOAD_INTERVAL
        self.opening_since: float | None = None
        self.opened: Strongbox | None = None
        self.hardware_only = False

    def open(self, optional: Sequence[str]) -> None:
        """Load the module and log in. `optional` names tokens that may be away. Raises what `Strongbox.open` raises."""
        self._tried = self.opening_since = self._clock()
        try:
            box = Strongbox.open(
                self._module, self.tokens, optional=optional, os_locking=self._os_locking, clock=self._clock
            )
            if self.hardware_only and box.is_software:
                box.close()
                raise SoftwareRefused(f"module {self._module} is SoftHSM", hint="use a hardware token; docs/hsm.md")
        except HsmError as error:
            self._failed = error
            raise
        finally:
            self.opening_since = None
        self.opened = box

    def __str__(self) -> str:
        return f"module {self._module}"

    @property
    def box(self) -> Strongbox:
        """The strongbox of this module. Raises what opening it raises; what a person must look at is tried once."""
        if self.opened is None:
            failed, since = self._failed, self._clock() - self._tried
            if failed is not None and not may_move(failed):
                raise failed
            if failed is not None and since < RELOAD_INTERVAL:
                raise TokenUnavailable(f"{failed.message} ({since:.0f} s ago)", hint=failed.hint, rv=failed.rv)
            self.open([token.name for token in self.tokens])
        if self.opened is None:
            raise TokenUnavailable(f"module {self._module} is not open", hint="look at the device")
        return self.opened


class Place:
    """One token at one module. `name` is what its strongbox calls it; `token` is what the keyroom calls it.

    `clone`: another place of the token comes before this one.
    """

    def __init__(
        self, settings: PlaceSettings, device: Device, clock: Clock = time.monotonic, *, clone: bool = False
    ) -> None:
        self.token = settings.token
        self.name = settings.settings.name
        self.module = settings.module
        self.device = device
        self.clone = clone
        self.circuit = Circuit(clock)
        self.probes = 0
        self.failed_probes = 0
        self._local: dict[KeyName, KeyName] = {}

    def __str__(self) -> str:
        return f"{self.name} in {self.module.name}"

    def localise(self, key: KeyName) -> KeyName:
        """The key as this place's strongbox knows it."""
        if key.token == self.name:
            return key
        local = self._local.get(key)
        if local is None:
            local = self._local[key] = msgspec.structs.replace(key, token=self.name)
        return local

    def attempt(self, work: Callable[[Strongbox, str], Result]) -> Result:
        """Ask this place, and count how it went. Raises CircuitOpen, at once, and what the work raises."""
        if self.circuit.is_open:
            raise self.refusal()
        try:
            result = work(self.device.box, self.name)
        except HsmError as error:
            self.note(error)
            raise
        if not self.circuit.calm:
            self.circuit.succeed()
        return result

    def note(self, error: HsmError) -> None:
        """Count a failure that says something about the token."""
        if is_outage(error):
            self.circuit.fail(error)

    def look(self) -> bool:
        """At the start: whether the token is here. If not, it rests at once, and is probed until it comes."""
        if self.device.opened is not None and self.device.opened.has_found(self.name):
            return True
        self.circuit.open(TokenNotFound(f"token {self} was away at the start", hint="look at the device"))
        return False

    def refusal(self) -> CircuitOpen:
        """Why nothing is asked of this place now."""
        seconds = max(1, math.ceil(self.circuit.wait))
        return CircuitOpen(
            f"token {self.token} ({self}) rests after {self.circuit.failures} failures: "
            f"{self.circuit.last or 'none told'}",
            hint=f"retry in {seconds} s; the token is probed until it is back",
            details={"retry_after": seconds},
        )

    def take_inventory(self) -> TokenInventory:
        """All its objects, under the keyroom's name for the token."""
        found = self.attempt(lambda box, name: box.take_inventory(name))
        return msgspec.structs.replace(found, label=self.token, clone=self.clone)

    def probe(self, key: KeyName | None) -> None:
        """Find out whether an open circuit may close: by random bytes, and by a signature over them, with the prefix,
        where the token has a probe key.
        """
        self.probes += 1
        try:
            self._sign_or_draw(key)
        except HsmError as error:
            self.failed_probes += 1
            self.circuit.fail(error)
        else:
            self.circuit.succeed()

    def _sign_or_draw(self, key: KeyName | None) -> None:
        box = self.device.box
        drawn = box.random(16, self.name)
        if key is not None:
            # A probe key that was made after the clone is not there: the token answers, and that is the question.
            with suppress(KeyNotFound):
                box.sign(self.localise(key), PROBE_PREFIX + drawn)

    @property
    def report(self) -> PlaceReport:
        """How it is."""
        circuit = self.circuit
        why = circuit.last.message if circuit.last else ""
        return PlaceReport(
            self.token, str(self), circuit.is_open, circuit.failures, self.probes, self.failed_probes, why
        )


def ask_all(places: Sequence[Place], work: Callable[[Strongbox, str], Result]) -> Sequence[Result]:
    """What every place of a token says, without those that are away. Raises what the first said when none answers."""
    done: list[Result] = []
    failed: HsmError | None = None
    for place in places:
        try:
            done.append(place.attempt(work))
        except HsmError as error:
            if not may_move(error):
                raise
            failed = error if failed is None or isinstance(failed, CircuitOpen) else failed
    if failed is not None and not done:
        raise failed
    return done


def rest(places: Sequence[Place]) -> bool:
    """Whether no place of a token may be asked."""
    return all(place.circuit.is_open for place in places)


def refusal(places: Sequence[Place]) -> HsmError:
    """Why nothing is asked of a token: what the place says that is due first."""
    return min(places, key=lambda place: place.circuit.wait).refusal()


def demand_one(places: Sequence[Place]) -> None:
    """Raises CircuitOpen when no place of a token may be asked."""
    if rest(places):
        raise refusal(places)
