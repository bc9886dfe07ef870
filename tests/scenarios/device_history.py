"""One random history of a device: messages, installations, thefts, an adversary in external flash, power cuts."""

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from pki.errors import PkiError
from pki.trust.device import Device
from pki.trust.device_memory import BANKS, GOLDEN, Memory, Slot, keep
from pki.trust.device_profile import BankProtection, ClassProfile, CounterModel
from pki.trust.rehearsal import Release
from pki.trust.sets import Domain, Kind
from tests.pki.trust.devices import IDENTITY, PROFILE, PowerCutError, floor_raise
from tests.scenarios.device_checks import Checks
from tests.scenarios.device_world import THIEF, SignedSet, World, key

STEPS = 18


class History:
    """History `number` is the same in every run. `run` takes random steps and checks every invariant after each."""

    def __init__(self, number: int, checks: Checks) -> None:
        self.rng = Random(number)
        self.checks = checks
        self.world = World(self.rng)
        self.profile = self._draw_profile()
        genesis = self.world.head
        identity = msgspec.structs.replace(IDENTITY, genesis=genesis.trust_set.payload_sha256)
        first = self.world.release(genesis, genesis.keys.image, security=1)
        self.device = Device.birth(self.profile, identity, genesis.message, image=first.image, manifest=first.manifest)
        self.touched: set[int] = set()
        self.trail: list[str] = []

    def run(self, steps: int = STEPS) -> None:
        actions: list[tuple[int, Callable[[], None]]] = [
            (5, self.rotate), (8, self.deliver_sets), (8, self.deliver_release), (5, self.confirm), (6, self.fall_back),
            (6, self.commit), (6, self.raise_floor), (3, self.steal), (5, self.thief_acts), (3, self.write_flash),
            (4, self.replay), (3, self.reboot), (2, self.misdirect),
        ]  # fmt: skip
        for _ in range(steps):
            (act,) = self.rng.choices([act for _, act in actions], [weight for weight, _ in actions])
            self.trail.append(act.__name__)
            act()
            self.checks.standing(self)
        self.checks.homecoming(self)

    # What the honest side does

    def rotate(self) -> None:
        if len(self.world.chain) < 8:
            self.world.rotate(Kind.EMERGENCY if self.world.stolen and self.rng.random() < 0.5 else Kind.PLANNED)

    def deliver_sets(self) -> None:
        chain = self.world.chain
        first = self.rng.randrange(len(chain))
        last = self.rng.choice([len(chain), self.rng.randint(first, len(chain))])
        messages = [item.message for item in chain[first:last]]
        self.checks.chunking(self, messages)
        self.act("receive_sets", messages)

    def deliver_release(self) -> None:
        under = self.on_device()
        old = self.world.sets[self.world.head.message].keys.image
        keys = [under.keys.image] if self.rng.random() < 0.6 else [under.keys.image, self.current_image_key(), old]
        release = self.world.release(under, *dict.fromkeys(keys), security=self.draw_security())
        self.install(release)
        if self.rng.random() < 0.7:
            self.reboot()
            self.confirm()

    def confirm(self) -> None:
        self.act("confirm", self_test=self.rng.random() < 0.8)

    def fall_back(self) -> None:
        under = self.on_device()
        release = self.world.release(under, under.keys.image, security=self.draw_security())
        self.act("install", release.manifest, release.image, fallback=True)

    def commit(self) -> None:
        self.act("commit")

    def raise_floor(self) -> None:
        under = self.on_device(committed=True)
        floor = self.device.view.floor(Domain.APP)
        low = max(0, floor + self.rng.choice([-1, 0, 0, 0, 1]))
        high = max(low + 1, self.rng.choice([low + self.rng.randint(1, 4), self.running_security()]))
        message = floor_raise(
            under.trust_set, low, high, sequence=self.next_sequence(),
            slots=self.rng.choice([0, 1, 1, 2]), soak=self.rng.choice([0, 0, 60]), by=under.keys.counters,
        )  # fmt: skip
        self.device.run(self.rng.choice([0, 100]))
        self.send("counter_update", message)

    def reboot(self) -> None:
        self.device.boot()

    # What goes wrong

    def steal(self) -> None:
        if self.world.head.honest:
            self.world.steal(threshold=self.rng.random() < 0.25)

    def thief_acts(self) -> None:
        base, world, rng = self.on_device(), self.world, self.rng
        match rng.randrange(4):
            case 0:
                self.send("receive_sets", [world.forge(base).message])
            case 1:
                mine = [item for item in world.stolen if item == base.keys.manifest] or [base.keys.manifest]
                signer = mine[0] if base.honest is False or mine[0] in world.stolen else rng.choice(self.strangers())
                image_key = base.keys.image if self.owned(base.keys.image) else rng.choice(self.strangers())
                self.install(world.release(base, image_key, security=self.draw_security() + 4, by=signer))
            case 2:
                counters = [item for item in base.keys.counters if self.owned(item)] or self.strangers()[:1]
                floor = self.device.view.floor(Domain.APP)
                step = rng.choice([1, 3, 10, 100, 1 << 19])
                message = floor_raise(
                    base.trust_set, floor, floor + step, sequence=self.next_sequence(), slots=0, by=tuple(counters)
                )
                self.send("counter_update", message)
            case _:
                self.act("confirm")
                self.act("commit")

    def write_flash(self) -> None:
        """The adversary writes a slot, its flag, or a bank that the profile does not protect from writing."""
        place = self.rng.randrange(2)
        self.touched.add(place)
        slot = self.device.memory.slots[place]
        images = [*self.world.images, b"", b"garbage", slot.image[:-1], self.thief_image()]
        manifest = self.rng.choice([slot.manifest, b"", b"garbage"])
        new = Slot(self.rng.choice(images), manifest, self.rng.random() < 0.5)
        slots = tuple(new if number == place else old for number, old in enumerate(self.device.memory.slots))
        memory = msgspec.structs.replace(self.device.memory, slots=slots)
        if self.profile.bank_protection is not BankProtection.BOOTLOADER_FLASH and self.rng.random() < 0.3:
            bank = self.rng.randrange(BANKS)
            content = self.rng.choice([b"", b"garbage", *memory.banks, *self.world.sets])
            memory = msgspec.structs.replace(
                memory, banks=tuple(content if number == bank else old for number, old in enumerate(memory.banks))
            )
        self.device.hardware.memory = memory
        if self.rng.random() < 0.7:
            self.device.boot()

    def replay(self) -> None:
        if self.world.messages:
            name, message = self.rng.choice(self.world.messages)
            if name == "release":
                self.install(message)
            else:
                self.send(name, message)

    def misdirect(self) -> None:
        """Well signed, for somebody else (D10)."""
        under = self.on_device()
        for changes in self.rng.sample(self.checks.foreign_targets(), 2):
            release = self.world.release(under, under.keys.image, security=self.draw_security(), **changes)
            before = self.device.memory
            self.install(release, cut=False)
            self.checks.d10_messages_for_others_change_nothing(self, before)

    # How it reaches the device

    def install(self, release: Release, *, cut: bool = True) -> None:
        self.act("install", release.manifest, release.image, cut=cut)

    def send(self, name: str, message: Any) -> None:
        self.world.messages.append((name, message))
        self.checks.signatures(self, name, message)
        self.act(name, message)

    def act(self, name: str, *arguments: Any, cut: bool = True, **options: Any) -> None:
        """One operation, its power cut at a random write now and then."""
        before, slots = self.device.memory, self.checks.bootable(self.device)
        cuts = cut and self.rng.random() < 0.35
        if cuts:
            self.device.hardware.store = self.failing_store(self.rng.randrange(12))
        try:
            getattr(self.device, name)(*arguments, **options)
        except PkiError as refusal:
            self.trail.append(f"  {name}: {refusal.code}")
            self.checks.d7_a_rejected_message_changes_nothing(self, before)
        except PowerCutError:
            self.trail.append(f"  {name}: power cut")
            self.device.hardware.store = keep
            self.device.boot()
        else:
            self.trail.append(f"  {name}: done")
            self.checks.accepted(self, name, arguments, options)
        finally:
            self.device.hardware.store = keep
        if name in ("install", "commit", "confirm"):
            self.touched -= {
                number for number in range(GOLDEN) if self.device.memory.slots[number] != before.slots[number]
            }
        self.checks.progress(self, name, before, slots)

    def failing_store(self, writes: int) -> Callable[[Memory, Memory], Memory]:
        """Fails at the write after `writes`: nothing, all, half of it is there; a stride counter may skip counts."""
        left = writes

        def store(before: Memory, after: Memory) -> Memory:
            nonlocal left
            left -= 1
            if left >= 0:
                return after
            self.device.hardware.memory = self.rng.choice([before, after, self.tear(before, after)])
            raise PowerCutError

        return store

    def tear(self, before: Memory, after: Memory) -> Memory:
        if before.banks != after.banks:
            return msgspec.structs.replace(
                after, banks=tuple(_half(a, b) for a, b in zip(before.banks, after.banks, strict=True))
            )
        if before.slots != after.slots:
            torn = tuple(
                Slot(_half(a.image, b.image), _half(a.manifest, b.manifest), a.confirmed)
                for a, b in zip(before.slots, after.slots, strict=True)
            )
            return msgspec.structs.replace(after, slots=torn)
        if before.counters != after.counters:
            counters = list(after.counters)
            for domain, model in self.profile.counters.items():
                if before.counters[domain] != after.counters[domain]:
                    counters[domain] += self.rng.randrange(model.stride)
            return msgspec.structs.replace(after, counters=tuple(counters))
        return after

    # What it draws

    def on_device(self, *, committed: bool = False) -> SignedSet:
        """The newest (or lowest) set on the device, as a receipt would tell; the head when there is none."""
        sets = self.device.view.sets
        if not sets:
            return self.world.head
        wanted = sets[0] if committed else sets[-1]
        return next(item for item in self.world.sets.values() if item.trust_set == wanted)

    def current_image_key(self) -> Any:
        return self.on_device(committed=True).keys.image

    def owned(self, item: Any) -> bool:
        return item in self.world.stolen or any(
            item in made.keys.all for made in self.world.sets.values() if not made.honest
        )

    def strangers(self) -> list[Any]:
        return [key(THIEF, number) for number in (900, 901)]

    def thief_image(self) -> bytes:
        mine = [item for item in self.world.stolen if any(item == made.keys.image for made in self.world.chain)]
        return self.world.image(self.rng.choice([*mine, *self.strangers()]), security=50)

    def draw_security(self) -> int:
        return max(0, self.device.view.floor(Domain.APP) + self.rng.choice([-1, 0, 1, 2, 3, 3, 3]))

    def running_security(self) -> int:
        slots, running = self.device.memory.slots, self.device.running
        made = self.world.images.get(slots[running].image) if running in (0, 1) else None
        return made.security if made else 0

    def next_sequence(self) -> int:
        self.world.sequence += 1
        return self.world.sequence

    def _draw_profile(self) -> ClassProfile:
        rng = self.rng
        base = rng.choice([0, 0, 7, 1000])
        stride = rng.choice([1, 2, 8])
        trust = CounterModel(capacity=base + stride * 22_000, stride=stride, base=base)
        floors = CounterModel(capacity=base + stride * rng.choice([3, 12, 200]), stride=stride, base=base)
        return msgspec.structs.replace(
            PROFILE,
            counters={Domain.TRUST: trust, Domain.APP: floors},
            bank_protection=rng.choice(list(BankProtection)),
        )


def _half(before: bytes, after: bytes) -> bytes:
    return after if before == after else after[: len(after) // 2]
