"""All tokens of a keyroom: each at one place or at several, each place behind a circuit.

A place is a token in a module. Several places of one token are clones, as network HSMs make them: the same keys, by
CKA_ID and public key, which are checked at each place before the first use. The first place that is well is used. Keys
are made at the first place alone; who clones tokens must have the clone made before the key is needed from it.

A failure that another place may not have (session, device, unknown) is tried at the next place; what a person must
look at (PIN, attributes, public key) is not, and what the caller did wrong neither. After repeated failures a place
rests; `tend` probes it, with a key that is good for nothing else, until it is back.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from hsm.circuit import PlaceReport, may_move
from hsm.errors import CircuitOpen, HsmError, RequestInvalid, TokenNotFound
from hsm.inventory import TokenInventory
from hsm.keys import GeneratedKey, KeyName
from hsm.places import Device, Place, PlaceSettings, ask_all, demand_one, refusal, rest
from hsm.series import Made
from hsm.signed import Item, Signed, sign_one
from hsm.strongbox import Strongbox

Result = TypeVar("Result")


class Vault:
    """Tokens by name, each with its places in order of preference; the `settings` of a token in this order.

    With several `sessions`, so many threads sign the items of a series. `clock` is monotonic, in seconds.
    Nothing that needs a proof can do without the `vital` tokens. `log_in` comes first.
    """

    def __init__(
        self, settings: Sequence[PlaceSettings], *, sessions: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        modules: dict[Path, list[PlaceSettings]] = {}
        for item in settings:
            modules.setdefault(item.module, []).append(item)
        devices = {
            path: Device(path, [item.settings for item in given], os_locking=sessions > 1, clock=clock)
            for path, given in modules.items()
        }
        places: dict[str, list[Place]] = {}
        for item in settings:
            known = places.setdefault(item.token, [])
            known.append(Place(item, devices[item.module], clock, clone=bool(known)))
        self._places = {token: tuple(found) for token, found in places.items()}
        self._first = {token: found[0] for token, found in self._places.items()}
        self._devices = tuple(devices.values())
        self._clock = clock
        self._pool = ThreadPoolExecutor(sessions, thread_name_prefix="token") if sessions > 1 else None
        self.vital: tuple[str, ...] = ()

    @classmethod
    def open(
        cls, settings: Sequence[PlaceSettings], *, sessions: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> Self:
        """A vault that is logged in. Raises what `log_in` raises."""
        vault = cls(settings, sessions=sessions, clock=clock)
        vault.log_in()
        return vault

    def log_in(self) -> None:
        """Open every place, each with one try of its PIN. Of each token one place at least must open.

        Raises what `Strongbox.open` raises: for the last place of a token, and for what a person must look at anywhere.
        """
        try:
            self._open_devices()
        except BaseException:
            self.close()
            raise

    def sign(self, key: KeyName, data: bytes) -> bytes:
        """A raw, verified signature; see Strongbox.sign. Raises CircuitOpen, too."""
        (signed,) = self._sign_all([(key, data)])
        if signed.error is not None:
            raise signed.error
        return signed.raw

    def start(self, items: Sequence[Item]) -> Made:
        """As `sign`, for many; what is wrong with one fails no other. All are made before this returns."""
        if self._pool is None:
            return Made(self._sign_all(items))
        return Made(list(self._pool.map(lambda item: self._sign_all([item])[0], items)))

    def _sign_all(self, items: Sequence[Item]) -> list[Signed]:
        """By the first place of their token, where that is well; else by the first that may be asked."""
        first = self._first.get(items[0][0].token) if items else None
        alike = first is not None and all(key.token == first.token for key, _ in items)
        if first is None or not alike or not first.circuit.calm or (box := first.device.opened) is None:
            return [self._sign_anywhere(item) for item in items]
        try:
            made = box.start([(first.localise(key), data) for key, data in items]).wait()
        except HsmError as error:  # of all of them: the warden goes on
            made = [Signed(error=error)] * len(items)
        return [self._judge(first, item, signed) for item, signed in zip(items, made, strict=True)]

    def _judge(self, first: Place, item: Item, signed: Signed) -> Signed:
        """What the first place made of an item. A failure that another place may not have is tried there."""
        error = signed.error
        if not isinstance(error, HsmError):
            return signed
        first.note(error)
        return self._sign_anywhere(item, error) if may_move(error) else signed

    def _sign_anywhere(self, item: Item, failed: HsmError | None = None) -> Signed:
        def sign(key: KeyName, data: bytes) -> bytes:
            return self._do(
                key.token, lambda place: place.attempt(lambda box, _: box.sign(place.localise(key), data)), failed
            )

        return sign_one(sign, *item, self._clock)

    def check_ready(self, token: str) -> None:
        """Refuse now what would be refused later: raises CircuitOpen when no place of this token, or of a vital one,
        may be asked.
        """
        for name in (token, *self.vital):
            if places := self._places.get(name):
                demand_one(places)

    def generate(self, token: str, key_id: bytes, label: str, algorithm: str) -> GeneratedKey:
        """Make a key pair at the token's first place, never at another; see Strongbox.generate."""
        made = self._find(token)[0].attempt(lambda box, name: box.generate(name, key_id, label, algorithm))
        return msgspec.structs.replace(made, name=msgspec.structs.replace(made.name, token=token))

    def destroy(self, token: str, key_id: bytes) -> bool:
        """Destroy every object with this id at every place; True when there was one anywhere. A place that cannot be
        asked is an error, before anything is destroyed: the key may live there.
        """
        places = self._find(token)
        for place in places:
            if place.circuit.is_open:
                raise place.refusal()
        existed = [place.attempt(lambda box, name: box.destroy(name, key_id)) for place in places]
        return any(existed)

    def exists(self, token: str, key_id: bytes) -> bool:
        """Whether any object, private or public, has this id at any place. Nothing is guessed of a place that cannot
        be asked, unless another one has the object.
        """
        failed: HsmError | None = None
        for place in self._find(token):
            try:
                if place.attempt(lambda box, name: box.exists(name, key_id)):
                    return True
            except HsmError as error:
                failed = error
        if failed is not None:
            raise failed
        return False

    def read_memos(self, token: str, label: str) -> tuple[bytes, ...]:
        """The memos of a label at every place that answers; see Strongbox.read_memos. Raises when no place answers."""
        return sum(ask_all(self._find(token), lambda box, name: box.read_memos(name, label)), ())

    def write_memo(self, token: str, label: str, data: bytes) -> int:
        """Replace the memos of a label at every place that answers; how many there were at the first of these."""
        return ask_all(self._find(token), lambda box, name: box.write_memo(name, label, data))[0]

    def inventory(self) -> tuple[TokenInventory, ...]:
        """Every token with all its objects, place by place; `reports` tell which places are away and left out."""
        taken = (self._take(place) for places in self._places.values() for place in places)
        return tuple(found for found in taken if found is not None)

    def random(self, count: int) -> bytes:
        """Random bytes, 1 to 1024, from the generator of the first token that answers."""
        failed: HsmError | None = None
        for token in self._places:
            try:
                return self._do(token, lambda place: place.attempt(lambda box, name: box.random(count, name)))
            except HsmError as error:
                if not may_move(error):
                    raise
                failed = error
        raise failed or RequestInvalid("there is no token", hint="name one in the settings")

    def token_serial(self, token: str) -> str:
        """The serial number of a token, at its first place that was found. Raises TokenNotFound."""
        for place in self._find(token):
            if place.device.opened is not None and place.device.opened.has_found(place.name):
                return place.device.opened.token_serial(place.name)
        raise TokenNotFound(f"token {token} was not found at any place", hint="look at the devices")

    def tend(self, probes: Sequence[KeyName]) -> None:
        """Probe the places that rest, those that are due, with the probe key of their token if it has one. Call it
        every second or so.
        """
        keys = {key.token: key for key in probes}
        for token, places in self._places.items():
            for place in places:
                if place.circuit.is_due:
                    place.probe(keys.get(token))

    @property
    def resting(self) -> Mapping[str, HsmError]:
        """Why nothing is asked of a token, by its name: of each that has no place that may be asked."""
        return {token: refusal(places) for token, places in self._places.items() if rest(places)}

    @property
    def reports(self) -> tuple[PlaceReport, ...]:
        """How every place is. From any thread."""
        return tuple(place.report for places in self._places.values() for place in places)

    @property
    def stopped(self) -> tuple[tuple[bytes, str], ...]:
        """What a person must look at: (CKA_ID, error) of each key that is refused; a whole token has an empty id."""
        return tuple(item for box in self._boxes for item in box.stopped)

    @property
    def is_software(self) -> bool:
        """Whether any module or token is SoftHSM."""
        return any(box.is_software for box in self._boxes)

    def refuse_software(self) -> None:
        """Open no SoftHSM from now on: a device that was away at the start is judged when it comes."""
        for device in self._devices:
            device.hardware_only = True

    @property
    def in_call_since(self) -> float | None:
        """The clock's value when the oldest PKCS#11 call under way began; None when there is none. From any thread."""
        return min((since for box in self._boxes if (since := box.in_call_since) is not None), default=None)

    @property
    def opening_since(self) -> float | None:
        """The clock's value when a module began to be loaded and logged into; those calls are not seen one by one."""
        return min((since for device in self._devices if (since := device.opening_since) is not None), default=None)

    @property
    def calls(self) -> tuple[str, ...]:
        """The PKCS#11 calls under way, with their token and key, and modules being opened. From any thread."""
        opening = tuple(f"opening {device}" for device in self._devices if device.opening_since is not None)
        return opening + tuple(call for box in self._boxes for call in box.calls)

    def close(self) -> None:
        """Finalise every module; a second call does nothing."""
        if self._pool is not None:
            self._pool.shutdown()
        for box in self._boxes:
            box.close()

    @property
    def _boxes(self) -> tuple[Strongbox, ...]:
        return tuple(device.opened for device in self._devices if device.opened is not None)

    def _open_devices(self) -> None:
        spare = [place for places in self._places.values() if len(places) > 1 for place in places]
        for device in self._devices:
            mine = [place for place in spare if place.device is device]
            try:
                device.open([place.name for place in mine])
            except HsmError as error:
                if not may_move(error) or len(mine) < len(device.tokens):
                    raise
        for token, places in self._places.items():
            lost = [place for place in places if not place.look()]
            if len(lost) == len(places):
                raise lost[0].circuit.last or TokenNotFound(f"token {token} is nowhere", hint="look at the devices")

    def _take(self, place: Place) -> TokenInventory | None:
        try:
            return place.take_inventory()
        except HsmError as error:
            if not may_move(error):
                raise
            return None

    def _find(self, token: str) -> tuple[Place, ...]:
        places = self._places.get(token)
        if places is None:
            raise TokenNotFound(f"token {token} is not in the settings", hint="add it, or correct the label")
        return places

    def _do(self, token: str, work: Callable[[Place], Result], failed: HsmError | None = None) -> Result:
        """Have a place do the work: the first, or the next after a failure that another place may not have.

        `failed` is what the first place said, when it was asked already.
        """
        places = self._find(token)
        if failed is None:
            demand_one(places)
        for place in places if failed is None else places[1:]:
            try:
                return work(place)
            except HsmError as error:
                if not may_move(error):
                    raise
                # What a token itself said tells more than that another place rests.
                failed = error if failed is None or isinstance(failed, CircuitOpen) else failed
        raise failed or TokenNotFound(f"token {token} is nowhere", hint="look at the devices")
