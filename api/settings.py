"""What the API is told at start: where it listens, where the keyroom is, what it lets in. No secret is among it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ceremonies.client import KeyroomAddress, TlsFiles

PREFIX: Final = "KEDGE_API_"
NOWHERE: Final = Path()
LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]", "::1")


class ApiSettings(BaseModel):
    """Settings of one API process. Each has an environment variable: KEDGE_API_ and its name in capitals.

    socket: the keyroom's Unix socket; or, on another machine, keyroom: its HOST:PORT, with keyroom_name, which its
    certificate must have, and PEM files: keyroom_ca, the only authorities believed for it, keyroom_cert and
    keyroom_key (mode 0400), which it knows this process by. public_dir: the keyroom's static files (checkpoint and
    tiles), read only.
    allowed_hosts: names in the Host header; `*.example.com` covers subdomains. trusted_proxies: addresses whose
    X-Forwarded-For is believed; certificate_proxies: addresses of connections whose Client-Cert header (RFC 9440) is
    believed; empty believes nobody. tls_cert, tls_key: PEM files, for HTTPS; tls_client_ca: PEM file of the authorities
    whose client certificates are taken (the service CA for stations, device CA and site CAs for devices; the root).
    json_limit, csr_limit: bytes of a body. Seconds: head_time for the head of a request and for an idle connection,
    body_gap between two pieces of a body, body_time for all of it, keyroom_timeout for an answer of the keyroom.
    concurrency: open requests of one process; more are answered 503.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    socket: Path = NOWHERE
    keyroom: str = ""
    keyroom_name: str = ""
    keyroom_ca: Path | None = None
    keyroom_cert: Path | None = None
    keyroom_key: Path | None = None
    public_dir: Path
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, lt=65536)] = 8300
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    allowed_hosts: tuple[str, ...] = LOOPBACK
    trusted_proxies: tuple[str, ...] = ()
    certificate_proxies: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    json_limit: Annotated[int, Field(ge=1024, le=2 << 20)] = 3 << 19
    csr_limit: Annotated[int, Field(ge=1024, le=1 << 17)] = 1 << 14
    head_time: Annotated[int, Field(ge=1, le=60)] = 5
    body_gap: Annotated[float, Field(gt=0, le=60)] = 5.0
    body_time: Annotated[float, Field(gt=0, le=600)] = 60.0
    keyroom_timeout: Annotated[float, Field(gt=0, le=600)] = 30.0
    concurrency: Annotated[int, Field(ge=1, le=100_000)] = 512

    @field_validator("allowed_hosts", "trusted_proxies", "certificate_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("allowed_hosts")
    @classmethod
    def _refuse_any_host(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or any(host == "*" or "*" in host[1:] for host in value):
            raise ValueError("name the hosts; only a leading `*.` may stand for subdomains")
        return value

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("HTTPS needs tls_cert and tls_key")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError("tls_client_ca needs HTTPS: name tls_cert and tls_key")
        return self

    @model_validator(mode="after")
    def _place_keyroom(self) -> Self:
        if not self.keyroom and self.socket == NOWHERE:
            raise ValueError("name the keyroom's socket, or with keyroom its address")
        _ = self.place
        return self

    @property
    def place(self) -> Path | KeyroomAddress:
        """Where the keyroom is. Raises ValueError when that is told twice, or in part."""
        told = (self.keyroom, self.keyroom_name, self.keyroom_ca, self.keyroom_cert, self.keyroom_key)
        if self.socket != NOWHERE:
            if any(told):
                raise ValueError("the keyroom has a socket or an address, not both")
            return self.socket
        if not (self.keyroom and self.keyroom_name and self.keyroom_ca and self.keyroom_cert and self.keyroom_key):
            raise ValueError("keyroom needs keyroom_name, keyroom_ca, keyroom_cert and keyroom_key")
        files = TlsFiles(self.keyroom_cert, self.keyroom_key, self.keyroom_ca)
        return KeyroomAddress(self.keyroom, self.keyroom_name, files)

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
            if value != ""
        }
