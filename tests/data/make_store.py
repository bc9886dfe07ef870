"""Makes the store of a release: run with that release's own tree as working directory (see README.md beside this file).

python make_store.py OUT.tar.gz
"""

import asyncio
import json
import sys
import tarfile
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ceremonies.commands import SuspendKey
from ceremonies.public import Publisher
from tests.world import World, issue_device, make_request, soft_keys, soft_world

PEM = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


async def live(world: World) -> None:
    """Genesis, a work order, three devices, a suspended key; then everything is published."""
    await world.genesis()
    await world.open_order()
    for number in (1, 2, 3):
        await issue_device(world, number, make_request())
    await world.ask(SuspendKey("site-ca", "a drill"), "officer", object)
    await Publisher(world.room).publish()


def describe(world: World) -> dict[str, object]:
    """What a later release needs to go on: keys that are good for this test alone."""
    log_key = world.room.ledger.log_key
    assert log_key is not None
    keys = [
        {"token": token, "id": key_id.hex(), "pem": key.private_bytes(*PEM).decode()}
        for (token, key_id), key in soft_keys(world).keys.items()
    ]
    return {
        "roster_sha256": world.roster.digest,
        "issuer": world.issuer.private.private_bytes(*PEM).decode(),
        "kid": world.issuer.kid,
        "algorithm": world.issuer.algorithm,
        "size": world.room.ledger.journal.size,
        "vkey": log_key.vkey.encode(),
        "keys": keys,
    }


def main(out: Path) -> None:
    """Live, stop, pack."""
    with tempfile.TemporaryDirectory() as directory:
        world = soft_world(Path(directory)).start()
        asyncio.run(live(world))
        (world.path / "world.json").write_text(json.dumps(describe(world), indent=1) + "\n")
        world.stop()
        with tarfile.open(out, "w:gz") as archive:
            for name in ("data", "public", "world.json"):
                archive.add(world.path / name, name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
