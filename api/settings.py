"""What the API is told at start: where it listens, where the keyroom is, what it lets in. No secret is among it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

PREFIX: Final = "KEDGE_API_"
LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]", "::1")


class ApiSettings(BaseModel):
    """Settings of one API process. Each has an environment variable: KEDGE_API_ and its name in capitals.

    socket: the keyroom's Unix socket. public_dir: the keyroom's static files (checkpoint and tiles), read only.
    allowed_hosts: names in the Host header; `*.example.com` covers subdomains. trusted_proxies: addresses whose
    X-Forwarded-For is believed; empty believes nobody. json_limit, csr_limit: bytes of a body. Seconds: head_time for
    the head of a request and for an idle connection, body_gap between two pieces of a body, body_time for all of it,
    keyroom_timeout for an answer of the keyroom. concurrency: open requests of one process; more are answered 503.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    socket: Path
    public_dir: Path
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, lt=65536)] = 8300
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    allowed_hosts: tuple[str, ...] = LOOPBACK
    trusted_proxies: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    json_limit: Annotated[int, Field(ge=1024, le=2 << 20)] = 3 << 19
    csr_limit: Annotated[int, Field(ge=1024, le=1 << 17)] = 1 << 14
    head_time: Annotated[int, Field(ge=1, le=60)] = 5
    body_gap: Annotated[float, Field(gt=0, le=60)] = 5.0
    body_time: Annotated[float, Field(gt=0, le=600)] = 60.0
    keyroom_timeout: Annotated[float, Field(gt=0, le=600)] = 30.0
    concurrency: Annotated[int, Field(ge=1, le=100_000)] = 512

    @field_validator("allowed_hosts", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("allowed_hosts")
    @classmethod
    def _refuse_any_host(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or any(host == "*" or "*" in host[1:] for host in value):
            raise ValueError("name the hosts; only a leading `*.` may stand for subdomains")
        return value

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read every KEDGE_API_ variable; one that names no setting is refused. Raises pydantic.ValidationError."""
        return cls.model_validate(
            {name[len(PREFIX) :].lower(): value for name, value in environment.items() if name.startswith(PREFIX)}
        )

    def to_environment(self) -> dict[str, str]:
        """The variables that `from_environment` reads back, for worker processes."""
        values = self.model_dump(exclude_none=True)
        return {
            PREFIX + name.upper(): ",".join(value) if isinstance(value, tuple) else str(value)
            for name, value in values.items()
        }
