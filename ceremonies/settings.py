"""Settings of the keyroom: a TOML file without secrets. PINs are named by file, never written here."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ceremonies.errors import KeyroomError

Sha256 = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]


PROBE = "probe"
"""The role of keys that probe tokens: they are good for nothing else, so they may live on any token."""


class SettingsInvalid(KeyroomError):
    """The settings file is missing, or says something that the keyroom does not know or does not allow."""

    code = "settings-invalid"


class ClonePlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another place of a token, with the same keys. What is empty is as at the first place."""

    module: Path | None = None
    label: str = ""
    serial: str = ""
    pin_file: Path | None = None


class TokenPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token: its label, the files with its PINs (mode 0400), and which key roles may live on it.

    `so_pin_file` is needed only to make the token, in development. `serial` tells tokens of one label apart. `clones`
    are used in their order when the token itself fails.
    """

    label: str
    pin_file: Path
    roles: tuple[str, ...]
    so_pin_file: Path | None = None
    serial: str = ""
    clones: tuple[ClonePlace, ...] = ()


class FeedPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where events are sent: `file:PATH`, `syslog:PATH` (Unix datagram), `syslog+udp://HOST:PORT`, or `https://...`.

    secret_file: the key (mode 0400) that authenticates deliveries over https. ca: PEM file of the only authorities
    believed there. severity: the least that is sent.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z")]
    to: Annotated[str, Meta(min_length=1, max_length=1024)]
    secret_file: Path | None = None
    ca: Path | None = None
    severity: Literal["info", "notice", "warning", "critical"] = "info"


class RemotePlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where API processes on other machines connect, by mutual TLS: `listen` is HOST:PORT.

    certificate, key, ca: PEM files of the keyroom's chain, its key (mode 0400), and the authorities of its peers.
    peers: who is let in, `dns:NAME` of the certificate's subject alternative names or `spki:` and the hex SHA-256 of
    its public key. An empty list lets nobody in, and is refused.
    """

    listen: Annotated[str, Meta(min_length=3, max_length=300)]
    certificate: Path
    key: Path
    ca: Path
    peers: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^(dns:[A-Za-z0-9._-]{1,253}|spki:[0-9a-f]{64})\Z")], ...],
        Meta(min_length=1, max_length=16),
    ]


class AuthorityPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A time-stamping authority (RFC 3161). certificates: PEM file of the roots that its stamps must lead to. policy:
    the OID that its stamps must bear, if any. ca: PEM file of the only authorities believed for https to it.
    """

    url: Annotated[str, Meta(min_length=1, max_length=1024)]
    certificates: Path
    policy: str = ""
    ca: Path | None = None


class KeyroomSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the keyroom must be told. Relative paths start at the settings file's directory.

    origin: the journal's name, as in its checkpoints. node: this keyroom's id. data: database and spool.
    public: static files for the world. roster_sha256: digest of the genesis roster, so that a forged genesis does not
    start. witnesses: the quorum that must cosign the journal, a C2SP tlog-policy; production refuses `quorum none`.
    witness_ca: PEM file of the only authorities trusted for https to them, if not the system's.
    peer_uids: users whose processes may connect besides the keyroom's own. deadline_s: the longest PKCS#11 call.
    sessions: how many PKCS#11 calls run at a time. inventory_every_s: from one comparison of the tokens to the next.
    token_anchor_every_s: how far the anchor in the journal's token may be behind; with 0 there is none.
    readers: processes that read certification requests; with 0 the keyroom reads them itself.
    station_rate: units a second that one station may ask for; it may save up twenty seconds' worth.
    feeds: where events are sent. remote: where API processes on other machines connect; by default nowhere.
    timestamp_authorities: who stamps the newest checkpoint every timestamp_every_s. recovery: directory of an approved
    recovery of the journal (`ceremonies.salvage`).
    """

    origin: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._/-]{3,120}\Z")]
    node: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]
    data: Path
    public: Path
    socket: Path
    module: Path
    tokens: Annotated[tuple[TokenPlace, ...], Meta(min_length=1)]
    roster_sha256: Sha256
    witnesses: Annotated[str, Meta(min_length=1, max_length=1 << 18)]
    witness_ca: Path | None = None
    database: str = ""
    mode: Literal["development", "production"] = "development"
    peer_uids: tuple[int, ...] = ()
    deadline_s: Annotated[float, Meta(gt=0, le=300)] = 10.0
    sessions: Annotated[int, Meta(ge=1, le=64)] = 1
    inventory_every_s: Annotated[float, Meta(ge=0.1, le=3600)] = 300.0
    token_anchor_every_s: Annotated[float, Meta(ge=0, le=86400)] = 60.0
    max_database_pages: int | None = None
    readers: Annotated[int, Meta(ge=0, le=64)] = 1
    station_rate: Annotated[int, Meta(ge=1, le=100_000)] = 250
    feeds: Annotated[tuple[FeedPlace, ...], Meta(max_length=8)] = ()
    remote: RemotePlace | None = None
    timestamp_authorities: Annotated[tuple[AuthorityPlace, ...], Meta(max_length=8)] = ()
    timestamp_every_s: Annotated[float, Meta(ge=1, le=604800)] = 3600.0
    recovery: Path | None = None

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL; SQLite in `data` unless the settings name another database."""
        return self.database or f"sqlite:///{self.data / 'kedge.db'}"

    @property
    def may_stand_by(self) -> bool:
        """Whether a second keyroom waits for the first to end, instead of refusing to start."""
        return self.database.startswith("postgresql")

    @property
    def spool(self) -> Path:
        """Where uploads wait under their digest."""
        return self.data / "spool"

    def token_for(self, role: str) -> str:
        """The label of the token where keys of a role live. Raises SettingsInvalid."""
        for token in self.tokens:
            if role in token.roles:
                return token.label
        raise SettingsInvalid(f"no token holds the role {role}", hint="add the role to a token in the settings")

    def may_hold(self, token: str, role: str) -> bool:
        """Whether a key of a role may be made on a token: a probe key on every one but the journal's, any other key
        where the settings place its role. Raises SettingsInvalid when they place it nowhere.
        """
        if role == PROBE:
            return token != self.token_for("journal") and any(item.label == token for item in self.tokens)
        return self.token_for(role) == token


def load_settings(path: Path) -> KeyroomSettings:
    """Read and check a settings file. Raises SettingsInvalid."""
    try:
        settings = msgspec.toml.decode(path.read_bytes(), type=KeyroomSettings, dec_hook=_read_value)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{path}: {error}", hint="see docs/settings.md") from error
    base = path.resolve().parent
    tokens = tuple(_resolve(token, base) for token in settings.tokens)
    ca = settings.witness_ca and base / settings.witness_ca
    recovery = settings.recovery and base / settings.recovery
    feeds = tuple(_place_feed(base, feed) for feed in settings.feeds)
    remote = settings.remote and _place_remote(base, settings.remote)
    stampers = tuple(
        msgspec.structs.replace(item, certificates=base / item.certificates, ca=item.ca and base / item.ca)
        for item in settings.timestamp_authorities
    )
    places = {name: base / getattr(settings, name) for name in ("data", "public", "socket", "module")}
    loaded = msgspec.structs.replace(
        settings,
        tokens=tokens,
        witness_ca=ca,
        feeds=feeds,
        remote=remote,
        recovery=recovery,
        timestamp_authorities=stampers,
        **places,
    )
    _check_tokens(loaded)
    return loaded


def _resolve(token: TokenPlace, base: Path) -> TokenPlace:
    """The token with absolute paths."""
    clones = tuple(
        msgspec.structs.replace(
            clone, module=clone.module and base / clone.module, pin_file=clone.pin_file and base / clone.pin_file
        )
        for clone in token.clones
    )
    so_pin_file = token.so_pin_file and base / token.so_pin_file
    return msgspec.structs.replace(token, pin_file=base / token.pin_file, so_pin_file=so_pin_file, clones=clones)


def _place_feed(base: Path, feed: FeedPlace) -> FeedPlace:
    """A feed's paths from the settings' directory."""
    kind, colon, path = feed.to.partition(":")
    to = f"{kind}:{base / path}" if colon and kind in ("file", "syslog") else feed.to
    secret, ca = feed.secret_file and base / feed.secret_file, feed.ca and base / feed.ca
    return msgspec.structs.replace(feed, to=to, secret_file=secret, ca=ca)


def _place_remote(base: Path, remote: RemotePlace) -> RemotePlace:
    """Its paths from the settings' directory."""
    paths = {name: base / getattr(remote, name) for name in ("certificate", "key", "ca")}
    return msgspec.structs.replace(remote, **paths)


def _read_value(kind: type, value: Any) -> Any:
    """A path from its text; TOML knows no other type that the settings have."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"{kind.__name__} from {type(value).__name__}")


def _check_tokens(settings: KeyroomSettings) -> None:
    for token in settings.tokens:
        if "journal" in token.roles and token.roles != ("journal",):
            raise SettingsInvalid(f"token {token.label} holds the journal key and others", hint="give it its own token")
        if PROBE in token.roles:
            raise SettingsInvalid(f"token {token.label} lists the role probe", hint="leave it out: any token may")
        _check_clones(settings, token)
    labels = [token.label for token in settings.tokens]
    if len(set(labels)) != len(labels):
        raise SettingsInvalid("two tokens have one label", hint="labels name tokens; make them distinct")
    roles = Counter(role for token in settings.tokens for role in token.roles)
    if shared := sorted(role for role, count in roles.items() if count > 1):
        raise SettingsInvalid(f"two tokens hold the role {shared[0]}", hint="keys of a role live on one token")
    names = [feed.name for feed in settings.feeds]
    if len(set(names)) != len(names):
        raise SettingsInvalid("two feeds have one name", hint="names tell feeds apart; make them distinct")
    settings.token_for("journal")


def _check_clones(settings: KeyroomSettings, token: TokenPlace) -> None:
    """Every place of a token is another place."""
    places = [(settings.module, token.label, token.serial)]
    places += [(item.module or settings.module, item.label or token.label, item.serial) for item in token.clones]
    if len(set(places)) != len(places):
        raise SettingsInvalid(
            f"two places of token {token.label} are the same", hint="a clone differs in module, label or serial"
        )
