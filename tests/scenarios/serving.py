"""`kedge serve` as a process."""

import contextlib
import os
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from tests.ceremonies.authorities import SERVER, Authority
from tests.postgres import free_port
from tests.scenarios.keyrooms import KEDGE, PATIENCE_S, ROOT
from tests.world import World


@contextlib.contextmanager
def served_mutually(world: World, authority: Authority, clients: Path, **more: object) -> Iterator[httpx.Client]:
    """The API of a world over mutual TLS. clients: PEM, the authorities of client certificates; more: settings."""
    files, places = authority.issue("localhost", SERVER), world.settings()
    settings = {
        "SOCKET": places.socket, "PUBLIC_DIR": places.public, "HOST": "localhost",
        "TLS_CERT": files.certificate, "TLS_KEY": files.key, "TLS_CLIENT_CA": clients, **more,
    }  # fmt: skip
    with served(settings, authority.ca) as http:
        yield http


@contextlib.contextmanager
def served(settings: Mapping[str, object], ca: Path | None = None) -> Iterator[httpx.Client]:
    """The API with these settings (KEDGE_API_...) on a free port, and a client that nobody knows. ca: for https."""
    given = {"PORT": free_port(), **settings}
    environment = {**os.environ, **{f"KEDGE_API_{name}": str(value) for name, value in given.items()}}
    child = subprocess.Popen([*KEDGE, "serve"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    url = f"{'https' if ca else 'http'}://{given['HOST']}:{given['PORT']}"
    trusted = ssl.create_default_context(cafile=str(ca)) if ca else True
    try:
        with httpx.Client(base_url=url, timeout=30, trust_env=False, verify=trusted) as http:
            until = time.monotonic() + PATIENCE_S
            while True:
                with contextlib.suppress(httpx.TransportError):
                    http.get("/healthz")
                    break
                assert child.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
            yield http
    finally:
        child.terminate()
        child.wait(30)
