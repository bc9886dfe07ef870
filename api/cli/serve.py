"""`kedge serve`: the API as a process. The web framework is imported only here, so that other verbs start quickly."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.errors import FileRefused

if TYPE_CHECKING:
    from api.settings import ApiSettings


def run(
    socket: Annotated[Path | None, typer.Option(help="The keyroom's Unix socket.")] = None,
    public: Annotated[Path | None, typer.Option(help="The keyroom's static files.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="Number of processes.")] = None,
) -> None:
    """Run the API. Options win over KEDGE_API_... variables; docs/settings.md lists them all."""
    import ssl

    import uvicorn

    from api.cli.handshake import PeerProtocol

    given = {"socket": socket, "public_dir": public, "host": host, "port": port, "workers": workers}
    settings = read_settings({name: str(value) for name, value in given.items() if value is not None})
    os.environ.update(settings.to_environment())
    uvicorn.run(
        "api.app:create_worker",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=None,
        access_log=False,  # api.access writes it, without tokens
        server_header=False,
        http=PeerProtocol,
        ws="none",
        limit_concurrency=settings.concurrency,
        timeout_keep_alive=settings.head_time,
        timeout_graceful_shutdown=10,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        ssl_ca_certs=str(settings.tls_client_ca) if settings.tls_client_ca else None,
        # Officers and pipelines bring tokens and no certificate: the keyroom says who needs which.
        ssl_cert_reqs=ssl.CERT_OPTIONAL if settings.tls_client_ca else ssl.CERT_NONE,
    )


def read_settings(given: dict[str, str]) -> "ApiSettings":
    """The settings from the environment and `given`. Raises FileRefused, naming what is wrong."""
    from pydantic import ValidationError

    from api.settings import PREFIX, ApiSettings

    try:
        return ApiSettings.from_environment(
            {**os.environ, **{PREFIX + name.upper(): value for name, value in given.items()}}
        )
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise FileRefused(f"settings of the API: {wrong}", hint=f"use options or {PREFIX}... variables") from error
