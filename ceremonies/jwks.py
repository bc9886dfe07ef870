"""Fetching issuers' keys: from the locations the signed policy names, and nowhere else.

The keyroom fetches in its event loop (`JwksCache.refresh`); verification reads the cache (`JwksCache.keys`).
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import httpx

from ceremonies.answers import read_body
from ceremonies.errors import JwkMalformed, JwksUnavailable
from ceremonies.jwk import MAX_JWKS, IssuerKey, index_keys, parse_jwk, parse_jwks
from ceremonies.policy import Issuer, KeysInline, KeysUrl

FETCH_SECONDS: Final = 5.0
MIN_INTERVAL: Final = timedelta(seconds=30)
REFRESH_AFTER: Final = timedelta(minutes=5)
STALE_AFTER: Final = timedelta(hours=1)
INLINE_LIMIT: Final = 256


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is known of one location. `fetched` is None until a fetch succeeded; `error` is the last attempt's."""

    tried: datetime
    fetched: datetime | None
    keys: Mapping[str, IssuerKey]
    error: str


class JwksCache:
    """Issuers' keys by location: fetched at most every 30 s, renewed after 5 minutes, unusable after one hour.

    `refresh` runs in one event loop; `keys` may be called from any thread (entries are replaced, never changed).
    """

    def __init__(self) -> None:
        self._entries: dict[KeysUrl, _Entry] = {}
        self._locks: dict[KeysUrl, asyncio.Lock] = {}
        self._inline: dict[int, tuple[KeysInline, Mapping[str, IssuerKey]]] = {}

    def keys(self, issuer: Issuer, now: datetime) -> Mapping[str, IssuerKey]:
        """The issuer's keys by kid. Raises JwksUnavailable when none were fetched in the last hour."""
        location = issuer.jwks
        if isinstance(location, KeysInline):
            return self._read_inline(location)
        entry = self._entries.get(location)
        if entry is None or entry.fetched is None or now - entry.fetched > STALE_AFTER:
            why = entry.error if entry and entry.error else "not fetched yet"
            raise JwksUnavailable(
                f"no current keys of issuer {issuer.issuer}: {why}",
                hint="try again in a minute",
                details={"issuer": issuer.issuer},
            )
        return entry.keys

    def _read_inline(self, location: KeysInline) -> Mapping[str, IssuerKey]:
        """Keys that stand in the policy, parsed once: they change with the policy, which is another value then."""
        known = self._inline.get(id(location))
        if known is None or known[0] is not location:
            if len(self._inline) >= INLINE_LIMIT:
                self._inline.clear()
            known = self._inline[id(location)] = (location, index_keys(parse_jwk(key) for key in location.keys))
        return known[1]

    async def renew(self, issuers: Iterable[Issuer], now: datetime) -> None:
        """Fetch anew, where it is due, keys that were fetched before: one that its issuer has withdrawn must not count
        until they are stale. Never raises for a fetch that fails, as `refresh`.
        """
        used = [issuer for issuer in issuers if isinstance(issuer.jwks, KeysUrl) and issuer.jwks in self._entries]
        await asyncio.gather(*(self.refresh(issuer, now) for issuer in used))

    async def refresh(self, issuer: Issuer, now: datetime, *, key_unknown: bool = False) -> None:
        """Fetch the issuer's keys when they are due, or when a token named a key that is not among them.

        Never raises for a fetch that fails: the keys held stay usable until they are stale, and `keys` says why.
        """
        location = issuer.jwks
        if isinstance(location, KeysInline):
            return
        # One fetch at a time: whoever waited finds the fresh entry and leaves.
        async with self._locks.setdefault(location, asyncio.Lock()):
            entry = self._entries.get(location)
            if entry is not None and not _is_due(entry, now, key_unknown=key_unknown):
                return
            try:
                keys = parse_jwks(await fetch_jwks(location))
                self._entries[location] = _Entry(tried=now, fetched=now, keys=keys, error="")
            except (JwksUnavailable, JwkMalformed) as error:
                fetched, held = (entry.fetched, entry.keys) if entry else (None, {})
                self._entries[location] = _Entry(tried=now, fetched=fetched, keys=held, error=error.message)


async def fetch_jwks(location: KeysUrl) -> bytes:
    """GET the document: https under the pinned CA, no redirect, no proxy, at most 64 KiB and 5 s in all.

    The host is resolved once, each address judged, and the connection made to such an address, so that a name that
    changes between check and use (DNS rebinding) gains nothing. Raises JwksUnavailable.
    """
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            address = await _resolve(location)
            return await _get(location, address)
    except TimeoutError as error:
        raise JwksUnavailable(f"{location.url} did not answer within {FETCH_SECONDS:.0f} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise JwksUnavailable(f"{location.url} could not be fetched: {error}") from error


async def _resolve(location: KeysUrl) -> str:
    port = httpx.URL(location.url).port or 443
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(location.host, port, type=socket.SOCK_STREAM)
    addresses = [str(item[4][0]) for item in found]
    for address in addresses:
        _check_address(location, address)
    return addresses[0]


def _check_address(location: KeysUrl, text: str) -> None:
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    never = address.is_link_local or address.is_multicast or address.is_unspecified
    if never or not (address.is_global or location.private):
        raise JwksUnavailable(
            f"{location.host} resolves to {address}, which is not a public address",
            hint="say `private` in the policy when the issuer is in the own network",
        )


async def _get(location: KeysUrl, address: str) -> bytes:
    url = httpx.URL(location.url)
    context = ssl.create_default_context(cadata=location.ca_pem)
    async with httpx.AsyncClient(
        verify=context, trust_env=False, follow_redirects=False, timeout=FETCH_SECONDS
    ) as client:
        request = client.build_request(
            "GET",
            url.copy_with(host=address),
            headers={"Host": url.netloc.decode(), "Accept": "application/json", "Accept-Encoding": "identity"},
            extensions={"sni_hostname": location.host},
        )
        response = await client.send(request, stream=True)
        try:
            return await _read(location, response)
        finally:
            await response.aclose()


async def _read(location: KeysUrl, response: httpx.Response) -> bytes:
    if response.status_code != 200 or response.headers.get("content-encoding", "identity") != "identity":
        raise JwksUnavailable(f"{location.url} answered {response.status_code}, a plain 200 is expected")
    body = await read_body(response, MAX_JWKS)
    if body is None:
        raise JwksUnavailable(f"{location.url} sends more than {MAX_JWKS} bytes")
    return body


def _is_due(entry: _Entry, now: datetime, *, key_unknown: bool) -> bool:
    if now - entry.tried < MIN_INTERVAL:
        return False
    return key_unknown or entry.fetched is None or now - entry.fetched >= REFRESH_AFTER
