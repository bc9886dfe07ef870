"""What a witness is told: its name, its key file, where its records are, and the logs that it knows. A TOML file."""

import stat
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Meta

from api.errors import ApiError
from pki.log.errors import VerifierKeyInvalid
from pki.log.notes import LOG_KEY, WITNESS_KEY, VerifierKey, is_key_name, parse_vkey


class WitnessMisconfigured(ApiError):
    """The witness's settings, key file or records are missing, unsafe, or contradict each other."""

    code = "witness-misconfigured"


class KnownLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A log by its origin, with the verifier keys that may sign for it; two while the log changes its key."""

    origin: str
    vkeys: Annotated[tuple[str, ...], Meta(min_length=1, max_length=4)]

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """The keys. Raises WitnessMisconfigured when one is no log's key, or another log's."""
        try:
            keys = tuple(map(parse_vkey, self.vkeys))
        except VerifierKeyInvalid as error:
            raise WitnessMisconfigured(f"log {self.origin}: {error}", hint=error.hint) from error
        if any(key.kind != LOG_KEY or key.name != self.origin for key in keys):
            raise WitnessMisconfigured(
                f"log {self.origin}: a key is another log's, or no log's", hint="a vkey begins with the origin"
            )
        return keys


class WitnessSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of one witness. Relative paths start at the settings file's directory.

    name: the key's name, for ever; a URL without a scheme that its operator controls. key: the private key in PEM, mode
    0400. state: the directory of records. host, port: where it listens. tls_cert, tls_key: PEM files for https.
    """

    name: str
    key: Path
    state: Path
    logs: tuple[KnownLog, ...] = ()
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, lt=65536)] = 8390
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def known(self) -> dict[str, tuple[VerifierKey, ...]]:
        """The keys of every known log, by origin. Raises WitnessMisconfigured."""
        found = {log.origin: log.keys for log in self.logs}
        if len(found) != len(self.logs):
            raise WitnessMisconfigured("a log stands twice in the settings", hint="give it two vkeys instead")
        return found


def load_witness(path: Path) -> WitnessSettings:
    """Read a settings file. Raises WitnessMisconfigured."""
    try:
        settings = msgspec.toml.decode(path.read_bytes(), type=WitnessSettings, dec_hook=_read_value)
    except (OSError, msgspec.MsgspecError) as error:
        raise WitnessMisconfigured(f"{path}: {error}", hint="see docs/witnesses.md") from error
    if not is_key_name(settings.name):
        raise WitnessMisconfigured(f"{settings.name!r} is no key name", hint="no spaces, no plus signs")
    settings.known()
    base = path.resolve().parent
    places = {name: base / getattr(settings, name) for name in ("key", "state")}
    places |= {name: base / value for name in ("tls_cert", "tls_key") if (value := getattr(settings, name))}
    return msgspec.structs.replace(settings, **places)


def load_key(path: Path) -> Ed25519PrivateKey:
    """The witness's private key. Raises WitnessMisconfigured, also when others than the owner may touch the file."""
    try:
        mode = path.stat().st_mode
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise WitnessMisconfigured(f"key file {path}: {error}", hint="`kedge witness init` makes one") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise WitnessMisconfigured(f"key file {path} is open to others", hint=f"chmod 0400 {path}")
    if not isinstance(key, Ed25519PrivateKey):
        raise WitnessMisconfigured(f"key file {path} holds no Ed25519 key")
    return key


def witness_vkey(name: str, key: Ed25519PrivateKey) -> VerifierKey:
    """The public half, as policies list it."""
    return VerifierKey(name, WITNESS_KEY, key.public_key().public_bytes_raw())


def _read_value(kind: type, value: Any) -> Any:
    """A path from its text."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"{kind.__name__} from {type(value).__name__}")
