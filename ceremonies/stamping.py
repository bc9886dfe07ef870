"""Time-stamps (RFC 3161) of the newest checkpoint, every `timestamp_every_s` when the journal has grown.

Nothing waits for an authority: one that is away, slow or wrong is told, and the next in the settings is asked.
"""

import asyncio
import ipaddress
import ssl
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import msgspec
import structlog
from cryptography import x509
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from ceremonies.answers import read_body
from ceremonies.cosigned import Stamped, keep_stamp, newest_stamp
from ceremonies.errors import KeyroomError
from ceremonies.room import Room
from ceremonies.settings import AuthorityPlace, KeyroomSettings, SettingsInvalid
from pki.log.errors import StampInvalid
from pki.log.stamps import MAX_STAMP, parse_authorities, parse_policy_id, verify_stamp

log = structlog.get_logger()

ASK_S: Final = 10.0
RETRY_S: Final = 60.0
"""From a turn in which every authority failed to the next."""
MAX_OFF_S: Final = 300
"""How far an authority's time may be from the keyroom's clock, its accuracy included."""
QUERY: Final = "application/timestamp-query"
REPLY: Final = "application/timestamp-reply"


class StampFailed(KeyroomError):
    """A time-stamping authority is away, refuses, or answers what is no time-stamp of what was sent."""

    code = "stamp-failed"


class Authority(msgspec.Struct, frozen=True):
    """A time-stamping authority: where it is, and what its stamps must lead to."""

    url: str
    roots: tuple[x509.Certificate, ...]
    policy: str
    context: ssl.SSLContext


def list_authorities(settings: KeyroomSettings) -> tuple[Authority, ...]:
    """The authorities of the settings, checked, in order of preference. Raises SettingsInvalid."""
    return tuple(map(read_authority, settings.timestamp_authorities))


def read_authority(place: AuthorityPlace) -> Authority:
    """An authority whose URL, certificates and policy were checked. Raises SettingsInvalid."""
    try:
        url = httpx.URL(place.url)
        if place.policy:
            parse_policy_id(place.policy)
        roots = parse_authorities(place.certificates.read_bytes())
        context = trust_https(url, place.ca)
    except (httpx.InvalidURL, OSError, StampInvalid) as error:
        raise SettingsInvalid(f"time-stamping authority {place.url[:80]}: {error}") from error
    safe = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host))
    if not safe or not url.host or url.fragment or url.userinfo:
        raise SettingsInvalid(
            f"time-stamping authority {place.url[:80]!r} is no https URL", hint="see docs/settings.md"
        )
    return Authority(place.url, roots, place.policy, context)


def is_loopback(host: str) -> bool:
    """Whether it is an address of this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def trust_https(url: httpx.URL, ca: Path | None) -> ssl.SSLContext:
    """Whom https is believed: `ca` alone if given, else the system's authorities. Raises OSError."""
    return ssl.create_default_context(cafile=ca) if url.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Stamping:
    """`turn` is the chore. Raises SettingsInvalid when it is made."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._authorities = list_authorities(room.settings)
        self._due_us = 0
        self._size = newest_stamp(room.store) if self._authorities else 0

    async def turn(self) -> None:
        """Have the newest checkpoint stamped, when it is time and there is a new one."""
        if not self._authorities or self._room.surroundings.mono_us() < self._due_us:
            return
        note, size = await self._find_head()
        if not note or size <= self._size:
            return
        for authority in self._authorities:
            try:
                response = await ask_authority(authority, note, self._room.surroundings.now_us())
            except StampFailed as error:
                self._room.count("stamp_failures")
                log.warning("no time-stamp", authority=authority.url, why=str(error))
                continue
            await self._room.act(partial(keep_stamp, self._room.store, Stamped(size, note, response)))
            self._size = size
            self._room.count("stamps")
            break
        failing = self._size < size
        self._room.counters["stamps_failing"] = int(failing)
        pause_s = RETRY_S if failing else self._room.settings.timestamp_every_s
        self._due_us = self._room.surroundings.mono_us() + int(1_000_000 * pause_s)

    async def _find_head(self) -> tuple[bytes, int]:
        """The newest checkpoint that goes out: the last that witnesses cosigned, where they are asked."""
        room = self._room
        if room.witnesses.asked:
            return room.witnesses.latest.note, room.witnesses.latest.size
        return await room.act(lambda: (room.ledger.sign_checkpoint(), room.ledger.journal.size))


async def ask_authority(authority: Authority, note: bytes, now_us: int) -> bytes:
    """A verified DER TimeStampResp over these bytes, with the nonce that was sent and about our time. Raises
    StampFailed.
    """
    # The library draws the nonce; it makes the answer fresh and is good for nothing else.
    query = TimestampRequestBuilder(note, HashAlgorithm.SHA256).build()
    headers = {"Content-Type": QUERY, "Accept": REPLY, "Accept-Encoding": "identity"}
    response = await _post(authority, query.as_bytes(), headers)
    try:
        stamp = verify_stamp(response, note, authority.roots, nonce=query.nonce, policy=authority.policy)
    except StampInvalid as error:
        raise StampFailed(f"{authority.url}: {error}", hint="compare its certificates with its operator") from error
    if abs(datetime.fromisoformat(stamp.before).timestamp() - now_us / 1_000_000) > MAX_OFF_S:
        raise StampFailed(f"{authority.url} says {stamp.before}, which is not our time", hint="check both clocks")
    return response


async def _post(authority: Authority, body: bytes, headers: dict[str, str]) -> bytes:
    try:
        async with (
            asyncio.timeout(ASK_S),
            httpx.AsyncClient(
                verify=authority.context, trust_env=False, follow_redirects=False, timeout=ASK_S
            ) as client,
            client.stream("POST", authority.url, content=body, headers=headers) as response,
        ):
            media = response.headers.get("content-type", "").partition(";")[0].strip()
            if response.status_code != 200 or media != REPLY:
                raise StampFailed(f"{authority.url} answered {response.status_code} {media[:80]}")
            return await _drain(authority, response)
    except (httpx.HTTPError, OSError) as error:
        raise StampFailed(f"{authority.url} is away: {str(error) or type(error).__name__}") from error


async def _drain(authority: Authority, response: httpx.Response) -> bytes:
    data = await read_body(response, MAX_STAMP)
    if data is None:
        raise StampFailed(f"{authority.url} sends more than {MAX_STAMP} bytes")
    return data
