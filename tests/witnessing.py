"""Real witnesses for tests, in this process or by HTTP on loopback; and a small log that submits to them."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.witness.app import create_witness
from api.witness.notary import Notary
from api.witness.records import Records
from pki.log.checkpoints import Checkpoint
from pki.log.merkle import Frontier, leaf_hash
from pki.log.notes import VerifierKey
from pki.log.tree import Tree
from pki.log.witnesses import Submission, encode_submission
from tests.pki.log.building import LOG, ORIGIN
from tests.world import World, copy_world


def _no_node(level: int, index: int) -> bytes:
    raise AssertionError(f"node {level}/{index} is in memory")


class SmallLog:
    """A log of `size` leaves by the key LOG; `salt` makes another history."""

    def __init__(self, size: int, salt: bytes = b"") -> None:
        self.leaves = [leaf_hash(salt + bytes([number])) for number in range(size)]
        self.tree = Tree(_no_node)
        self.tree.accept(self.tree.stage(self.leaves))

    def note(self, size: int) -> bytes:
        """The signed checkpoint of a size."""
        return LOG.sign(Checkpoint(ORIGIN, size, Frontier().extend(self.leaves[:size]).root).encode())

    def submit(self, old: int, new: int) -> bytes:
        """The body that asks for a cosignature."""
        return encode_submission(Submission(old, self.tree.consistency_proof(old, new), self.note(new)))


def make_notary(
    path: Path, name: str = "witness.example/w1", logs: Sequence[VerifierKey] = (LOG.public,), seed: int = 77,
    now: Callable[[], int] = lambda: int(time.time()),
) -> Notary:  # fmt: skip
    """A witness with its records under `path`, made when they are not there."""
    (path / "state").mkdir(parents=True, exist_ok=True)
    known: dict[str, list[VerifierKey]] = {}
    for key in logs:
        known.setdefault(key.name, []).append(key)
    return Notary((name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)), known, Records(path / "state"), now)


@contextlib.contextmanager
def serving(notary: Notary, port: int = 0, pem: Path | None = None) -> Iterator[str]:
    """The witness by HTTP on loopback, by HTTPS with the key and certificate in `pem`; its URL."""
    server = uvicorn.Server(
        uvicorn.Config(
            create_witness(notary),
            host="127.0.0.1",
            port=port,
            log_config=None,
            ws="none",
            lifespan="off",
            ssl_certfile=pem,
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"{'https' if pem else 'http'}://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


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
