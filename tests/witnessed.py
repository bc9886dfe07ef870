"""Worlds whose journal is witnessed by real witnesses on loopback."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from api.witness.notary import Notary
from pki.log.notes import VerifierKey
from tests.witnessing import make_notary, serving
from tests.world import World, copy_world


def policy_text(witnesses: Sequence[tuple[Notary, str]], threshold: int) -> str:
    """A tlog-policy of the log itself: so many of these witnesses, at these URLs."""
    names = [f"w{number}" for number, _ in enumerate(witnesses, 1)]
    lines = [
        f"witness {name} {notary.vkey.encode()} {url}" for name, (notary, url) in zip(names, witnesses, strict=True)
    ]
    return "\n".join(
        [*lines, f"group quorum-of-witnesses {threshold} {' '.join(names)}", "quorum quorum-of-witnesses", ""]
    )


def log_vkey(world: World) -> VerifierKey:
    """The journal key of a world after genesis."""
    assert world.room.ledger.log_key is not None
    return world.room.ledger.log_key.vkey


class Bench:
    """Witnesses by HTTP that can be switched off and on again, each with records of its own."""

    def __init__(self, path: Path, key: VerifierKey, count: int) -> None:
        self._stack: dict[int, contextlib.ExitStack] = {}
        self.notaries = [
            make_notary(path / f"w{number}", f"witness.example/w{number}", (key,), number)
            for number in range(1, count + 1)
        ]
        self.ports = [0] * count
        for number in range(count):
            self.switch_on(number)

    def switch_on(self, number: int) -> None:
        """Serve, on the same port as before."""
        stack = contextlib.ExitStack()
        url = stack.enter_context(serving(self.notaries[number], self.ports[number]))
        self.ports[number], self._stack[number] = int(url.rpartition(":")[2]), stack

    def switch_off(self, number: int) -> None:
        """Serve no more."""
        self._stack.pop(number).close()

    def policy(self, threshold: int) -> str:
        """So many of all of them."""
        return policy_text(
            [(w, f"http://127.0.0.1:{p}") for w, p in zip(self.notaries, self.ports, strict=True)], threshold
        )

    def close(self) -> None:
        """Switch all off."""
        for number in list(self._stack):
            self.switch_off(number)


def witnessed_copy(template: World, path: Path, bench: Bench, threshold: int) -> World:
    """A copy of a world after genesis whose settings ask for witnesses; not started."""
    world = copy_world(template, path)
    world.witnesses = bench.policy(threshold)
    return world
