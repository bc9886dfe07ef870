"""Whose certificate it is: the connection's own, or the one that a proxy of the settings tells of."""

import base64
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import Request

from api.errors import ClientCertificateMalformed
from api.peers import CERTIFICATE_LIMIT, SCOPE, Peer, read_address, read_certificate
from api.settings import ApiSettings

OWN, TOLD = b"0\x82own", b"0\x82told"
HEADER = b":" + base64.b64encode(TOLD) + b":"


def request_of(address: str, *headers: bytes, own: bytes = b"") -> Request:
    settings = ApiSettings(socket=Path("s"), public_dir=Path("p"), certificate_proxies=("192.0.2.1",))
    return Request(
        {
            "type": "http",
            "headers": [(b"client-cert", value) for value in headers],
            "app": SimpleNamespace(state=SimpleNamespace(settings=settings)),
            SCOPE: Peer(address, own),
        }
    )


@pytest.mark.req("AZ-4", "AZ-5", "T25")
@pytest.mark.parametrize(
    ("address", "headers", "own", "expected"),
    [
        ("198.51.100.9", [], OWN, OWN),
        ("198.51.100.9", [], b"", b""),
        ("198.51.100.9", [HEADER], b"", b""),  # a header by a stranger is no certificate
        ("198.51.100.9", [HEADER], OWN, OWN),
        ("192.0.2.1", [HEADER], b"", TOLD),
        ("192.0.2.1", [HEADER], OWN, TOLD),  # the connection's own is the proxy's
        ("192.0.2.1", [], OWN, b""),
        ("", [HEADER], b"", b""),
    ],
)
def test_who_is_believed(address: str, headers: list[bytes], own: bytes, expected: bytes) -> None:
    assert read_certificate(request_of(address, *headers, own=own)) == expected


@pytest.mark.req("T25")
@pytest.mark.parametrize(
    "headers",
    [
        [b""],
        [b"::"],
        [b"MIIB"],
        [b":MII:"],
        [HEADER, HEADER],
        [HEADER + b";a=1"],
        [b":" + base64.urlsafe_b64encode(b"\xff\xfe\xfd") + b":"],
        [b":" + base64.b64encode(bytes(CERTIFICATE_LIMIT + 1)) + b":"],
    ],
)
def test_what_is_no_byte_sequence_is_refused(headers: list[bytes]) -> None:
    with pytest.raises(ClientCertificateMalformed):
        read_certificate(request_of("192.0.2.1", *headers))


def test_a_server_that_tells_nothing_has_shown_nothing() -> None:
    request = request_of("192.0.2.1", HEADER)
    del request.scope[SCOPE]
    assert read_certificate(request) == b""


@pytest.mark.parametrize(
    ("connection", "told", "expected"),
    [
        ("198.51.100.9", "198.51.100.9", "198.51.100.9"),
        ("192.0.2.1", "203.0.113.5", "203.0.113.5"),  # X-Forwarded-For, believed
        ("192.0.2.1", "192.0.2.1", ""),  # of two such proxies, one station would seem to be two machines
    ],
)
def test_a_proxy_is_not_where_a_station_is(connection: str, told: str, expected: str) -> None:
    request = request_of(connection, HEADER)
    request.scope["client"] = (told, 4711)
    assert read_address(request) == expected
