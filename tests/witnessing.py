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

SEED = 77


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
    path: Path, name: str = "witness.example/w1", logs: Sequence[VerifierKey] = (LOG.public,), seed: int = SEED,
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
