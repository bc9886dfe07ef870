import re
from collections.abc import Iterator
from typing import get_args

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from api.app import create_app
from api.auth import ROLES, TOKEN_LIMIT, authorise
from api.pages import PAGES
from api.routes import ROUTERS
from api.settings import ApiSettings
from ceremonies import commands
from tests.api.answers import REQUESTS
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer

ROUTES = sorted(ROLES)


@pytest.fixture
def public(served: Served) -> None:
    """A checkpoint and a tile among the static files."""
    tile = served.settings.public_dir / "journal/tile/0/x001/234"
    tile.parent.mkdir(parents=True)
    tile.write_bytes(bytes(32))
    lists = served.settings.public_dir / "crl/device-ca"
    lists.mkdir(parents=True)
    for path in (lists / "3f.crl", served.settings.public_dir / "crl/device-ca.crl"):
        path.write_bytes(b"0\x00")
    (served.settings.public_dir / "journal/checkpoint").write_text("kedge.example/journal\n1\n")


def send(served: Served, route: tuple[str, str], extra: dict[str, str]) -> httpx.Response:
    url, arguments, _ = REQUESTS[route]
    headers = {**arguments.get("headers", {}), **extra}
    return served.http.request(route[0], url, **{**arguments, "headers": headers})


def api_routes() -> Iterator[APIRoute]:
    for router in (*ROUTERS, *PAGES):
        for route in router.routes:
            assert isinstance(route, APIRoute)
            yield route


@pytest.mark.req("AZ-2", "T24")
def test_table_has_exactly_the_routes_and_each_route_is_authorised() -> None:
    found = [(method, route.path) for route in api_routes() for method in route.methods or ()]
    assert sorted(found) == ROUTES == sorted(REQUESTS)
    for route in api_routes():
        assert authorise in {dependency.call for dependency in route.dependant.dependencies}, route.path


def test_application_serves_nothing_beside_the_table(settings: ApiSettings) -> None:
    others = [getattr(route, "path", None) for route in create_app(settings).routes]
    assert [path for path in others if path is not None] == ["/openapi.json"]
    assert all(isinstance(route, BaseRoute) for route in create_app(settings).routes)


@pytest.mark.req("AZ-2")
@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
@pytest.mark.usefixtures("public")
def test_route_asks_the_command_whose_roles_stand_in_the_table(
    served: Served, peer: Peer, bearer: dict[str, str], route: tuple[str, str]
) -> None:
    response = send(served, route, bearer)
    assert response.is_success, response.text
    _, _, command = REQUESTS[route]
    assert {type(request.command) for request in peer.asked} == ({command} if command else set())
    if command is None:
        assert ROLES[route] == commands.PUBLIC
    else:
        assert ROLES[route] == command.roles - commands.LOCAL
    public = ROLES[route] == commands.PUBLIC
    assert {request.token for request in peer.asked} <= {"" if public else TOKEN}
    assert {request.source for request in peer.asked} <= {"127.0.0.1"}


def test_every_command_but_the_local_ones_has_a_route() -> None:
    reached = {command for _, _, command in REQUESTS.values() if command}
    everything = set(get_args(commands.AnyCommand))
    assert {command for command in everything - reached if command.roles - commands.LOCAL} == set()


@pytest.mark.req("AZ-5", "T25")
@pytest.mark.parametrize("route", [route for route in ROUTES if ROLES[route] != commands.PUBLIC], ids=" ".join)
def test_without_token_nothing_reaches_the_keyroom(served: Served, peer: Peer, route: tuple[str, str]) -> None:
    response = send(served, route, {"X-SSL-Client-Cert": "spoofed", "X-Forwarded-User": "ada"})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="kedge"'
    assert response.json()["code"] == "token-missing"
    assert peer.asked == []


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer  x", "Basic YTpi", "Bearer a b", "Bearer ü".encode(), "Bearer x\ty"]
)
def test_malformed_authorization_is_none(served: Served, peer: Peer, value: str | bytes) -> None:
    response = served.http.get(
        "/v1/keys", headers=[(b"Authorization", value if isinstance(value, bytes) else value.encode())]
    )
    assert (response.status_code, response.json()["code"]) == (401, "token-missing")
    assert peer.asked == []


def test_second_authorization_header_is_refused(served: Served, peer: Peer) -> None:
    headers = [("Authorization", "Bearer a.b.c"), ("Authorization", "Bearer d.e.f")]
    assert served.http.get("/v1/keys", headers=headers).status_code == 401
    assert peer.asked == []


def test_token_length_is_limited_to_what_the_keyroom_takes(served: Served, peer: Peer) -> None:
    limit = TOKEN_LIMIT
    assert served.http.get("/v1/keys", headers={"Authorization": f"bearer {'a' * limit}"}).status_code == 200
    assert served.http.get("/v1/keys", headers={"Authorization": f"Bearer {'a' * (limit + 1)}"}).status_code == 401
    assert len(peer.asked) == 1


@pytest.mark.req("AZ-6")
def test_token_that_the_keyroom_refuses_is_a_401(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    peer.replies = {commands.ListKeys: commands.Problem("token-refused", "expired", "get a new one", {"rule": "exp"})}
    response = served.http.get("/v1/keys", headers=bearer)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="kedge", error="invalid_token"'
    assert response.json()["details"] == {"rule": "exp"}


@pytest.mark.req("T24")
@pytest.mark.parametrize(
    "path",
    [
        "//v1/keys",
        "/v1//keys",
        "/v1/keys/",
        "/V1/keys",
        "/v1/keys;x=1",
        "/healthz/../v1/keys",
        "/healthz/%2e%2e/v1/keys",
        "/v1/%6beys",
        "/v1/keys%00",
        "/v1/keys%0a",
        "/healthz%0a",
        "/journal/tile/entries/../entries/000",
        "/journal/tile/entries%2F000",
        "/journal/tile/0/%2e%2e/entries/000",
    ],
)
@pytest.mark.usefixtures("public")
def test_odd_paths_open_nothing(served: Served, peer: Peer, path: str) -> None:
    url = httpx.URL(served.url).copy_with(raw_path=path.encode())
    assert served.http.get(url).status_code in (401, 404)
    assert peer.asked == []


@pytest.mark.req("T24")
@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "localhost@evil.example", "", "a/../localhost"]
)
def test_foreign_host_is_refused(served: Served, peer: Peer, bearer: dict[str, str], host: str) -> None:
    response = served.http.get("/v1/keys", headers={**bearer, "Host": host})
    assert response.status_code == 400
    assert peer.asked == []


def test_forwarded_addresses_are_not_believed(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    served.http.get("/v1/keys", headers={**bearer, "X-Forwarded-For": "203.0.113.9"})
    assert [request.source for request in peer.asked] == ["127.0.0.1"]


def test_paths_of_the_table_are_paths() -> None:
    assert all(re.fullmatch(r"(/[a-z0-9_{}:.-]+)+", path) for _, path in ROLES)
