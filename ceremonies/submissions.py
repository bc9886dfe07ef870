"""Asking one witness for its cosignature (c2sp.org/tlog-witness).

Integrity is in the cosignature, not in the connection: a witness may be asked over plain HTTP. Where witnesses are
stands in the keyroom's settings; they may be in the own network.
"""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import httpx
import msgspec

from ceremonies.answers import read_body
from ceremonies.errors import KeyroomError
from ceremonies.settings import KeyroomSettings, SettingsInvalid
from pki.log.checkpoints import parse_decimal
from pki.log.errors import LogError
from pki.log.notes import VerifierKey
from pki.log.policy import TrustPolicy, parse_policy, weigh_cosignatures
from pki.log.witnesses import MAX_ANSWER, PATH, SIZE_TYPE, Submission, encode_submission, read_cosignature

ASK_S: Final = 5.0
ATTEMPTS: Final = 3

Prove = Callable[[int, int], Awaitable[tuple[bytes, ...]]]


class WitnessFailed(KeyroomError):
    """A witness is away, does not know this journal, or answered what is no cosignature."""

    code = "witness-failed"


class WitnessContradicts(KeyroomError):
    """A witness has cosigned more entries than the journal has, or says that the journal does not extend them."""

    code = "witness-contradicts"


class Peer(msgspec.Struct, frozen=True):
    """A witness: its name in the policy, its key, and the prefix of its URL."""

    name: str
    key: VerifierKey
    url: str


class Head(msgspec.Struct, frozen=True):
    """A signed checkpoint over everything committed."""

    size: int
    note: bytes


def read_witnesses(settings: KeyroomSettings) -> TrustPolicy:
    """The quorum of the settings. Raises SettingsInvalid: no policy, or none at all in production."""
    try:
        policy = parse_policy(settings.witnesses.encode(), own_log=True)
    except LogError as error:
        raise SettingsInvalid(f"witnesses: {error}", hint=error.hint or "see docs/witnesses.md") from error
    if settings.mode == "production" and not policy.is_witnessed:
        raise SettingsInvalid("witnesses: `quorum none` in production", hint="name witnesses; see docs/witnesses.md")
    return policy


def list_peers(policy: TrustPolicy) -> tuple[Peer, ...]:
    """The witnesses that can be asked. Raises SettingsInvalid when they cannot make up the quorum."""
    urls = dict(policy.urls)
    peers = tuple(read_peer(name, key, urls[name]) for name, key in policy.witnesses if name in urls)
    if missing := weigh_cosignatures(policy, [peer.name for peer in peers]).missing:
        raise SettingsInvalid(f"witnesses: the quorum needs {missing} more with a URL", hint="witness NAME VKEY URL")
    return peers


def read_peer(name: str, key: VerifierKey, text: str) -> Peer:
    """A witness whose URL was checked. Raises SettingsInvalid."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise SettingsInvalid(f"witness {name}: {error}") from error
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment or url.userinfo:
        raise SettingsInvalid(f"witness {name}: {text[:80]!r} is no plain http(s) URL")
    return Peer(name, key, text.rstrip("/"))


def trust_authorities(peers: Sequence[Peer], ca: Path | None) -> ssl.SSLContext:
    """Whom https is believed: `ca` alone if given, else the system's authorities. Made once, for it takes a while.

    Raises SettingsInvalid.
    """
    if not any(peer.url.startswith("https:") for peer in peers):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # believes nobody
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise SettingsInvalid(f"witness_ca {ca}: {error}") from error


def open_client(context: ssl.SSLContext) -> httpx.AsyncClient:
    """A client for one round: no proxy, no redirect."""
    return httpx.AsyncClient(verify=context, trust_env=False, follow_redirects=False, timeout=ASK_S)


async def ask_witness(client: httpx.AsyncClient, peer: Peer, old: int, head: Head, prove: Prove) -> bytes:
    """The verified cosignature line of a witness that, as far as is known, cosigned `old` entries last.

    Raises WitnessFailed, WitnessContradicts.
    """
    for _ in range(ATTEMPTS):
        body = encode_submission(Submission(old, await prove(old, head.size), head.note))
        response, data = await _post(client, peer, body)
        if response.status_code == 200:
            return _read(peer, head, data)
        if response.status_code == 422:
            raise _contradiction(peer, f"journal of {head.size} entries does not extend the {old} it cosigned")
        if response.status_code != 409:
            raise WitnessFailed(
                f"witness {peer.name} answered {response.status_code}", hint=_hint(response.status_code)
            )
        size = _read_size(peer, response, data)
        if size > head.size:
            raise _contradiction(peer, f"has cosigned {size} entries, the journal has {head.size}")
        if size == old == head.size:
            raise _contradiction(peer, f"has cosigned another root for {old} entries")
        old = size
    raise WitnessFailed(f"witness {peer.name} tells another size each time")


async def _post(client: httpx.AsyncClient, peer: Peer, body: bytes) -> tuple[httpx.Response, bytes]:
    request = client.build_request("POST", f"{peer.url}/{PATH}", content=body, headers={"Accept-Encoding": "identity"})
    try:
        response = await client.send(request, stream=True)
        try:
            return response, await _drain(peer, response)
        finally:
            await response.aclose()
    except (httpx.HTTPError, OSError) as error:
        why = str(error) or type(error).__name__
        raise WitnessFailed(f"witness {peer.name} is away: {why}", hint="is it running, and its URL right?") from error


async def _drain(peer: Peer, response: httpx.Response) -> bytes:
    data = await read_body(response, MAX_ANSWER)
    if data is None:
        raise WitnessFailed(f"witness {peer.name} sends more than {MAX_ANSWER} bytes")
    return data


def _read(peer: Peer, head: Head, data: bytes) -> bytes:
    try:
        return read_cosignature(head.note, data, peer.key)[0]
    except LogError as error:
        raise WitnessFailed(
            f"witness {peer.name} did not cosign: {error}", hint="compare its vkey with its operator"
        ) from error


def _read_size(peer: Peer, response: httpx.Response, data: bytes) -> int:
    size = parse_decimal(data.removesuffix(b"\n").decode("latin-1"))
    media = response.headers.get("content-type", "").partition(";")[0].strip()
    if size is None or media != SIZE_TYPE:
        raise WitnessFailed(f"witness {peer.name} answered 409 without its size")
    return size


def _contradiction(peer: Peer, what: str) -> WitnessContradicts:
    return WitnessContradicts(
        f"witness {peer.name}: {what}", hint="an older database was restored, or the journal was forked: investigate"
    )


def _hint(status: int) -> str:
    return "give its operator the journal's vkey" if status in (403, 404) else ""
