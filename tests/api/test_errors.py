import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import api
import ceremonies
import hsm
import pki
from api.errors import _BY_STATUS, STATUS
from ceremonies import commands
from tests.api.conftest import Served
from tests.api.peer import Peer


def import_all(package: ModuleType) -> None:
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if ".migrations." not in found.name:
            importlib.import_module(found.name)


ROOTS = ("pki.errors.PkiError", "hsm.errors.HsmError", "ceremonies.errors.KeyroomError", "api.errors.ApiError")


def walk(kind: type[Exception]) -> Iterator[type[Exception]]:
    """The classes below one, those of tests left out: what another test module declares is no part of the product."""
    for below in kind.__subclasses__():
        if not below.__module__.startswith("tests."):
            yield below
            yield from walk(below)


def own_codes(*, leaves: bool) -> dict[str, str]:
    """Code -> class of the classes below the four roots; of the leaves only, or of all that have a code."""
    for package in (pki, hsm, ceremonies, api):
        import_all(package)
    found: dict[str, str] = {}
    for root in ROOTS:
        module, _, name = root.rpartition(".")
        for kind in walk(getattr(importlib.import_module(module), name)):
            if leaves and any(walk(kind)):
                continue
            code, where = vars(kind).get("code"), f"{kind.__module__}.{kind.__name__}"
            assert code or not leaves, f"{where} has no code of its own"
            # What the API refuses early has the keyroom's own code for it.
            if code and not (code in found and kind.__module__ == "api.errors"):
                assert found.setdefault(code, where) == where, f"{code}: {found[code]} and {where}"
    return found


def test_each_leaf_has_a_row() -> None:
    assert {code: where for code, where in own_codes(leaves=True).items() if code not in STATUS} == {}


def test_no_row_is_dead() -> None:
    assert sorted(STATUS.keys() - own_codes(leaves=False).keys()) == []


def test_each_code_stands_in_one_row() -> None:
    rows = [code for codes in _BY_STATUS.values() for code in codes.split()]
    assert len(rows) == len(set(rows))


def test_table_has_only_statuses_that_clients_know() -> None:
    assert set(STATUS.values()) <= {202, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 431, 500, 503, 507}
    assert all(code == code.lower() and " " not in code for code in STATUS)


@pytest.mark.parametrize("status", sorted(set(STATUS.values())))
def test_problem_of_the_keyroom_is_mapped_by_its_code(
    served: Served, peer: Peer, bearer: dict[str, str], status: int
) -> None:
    for code in (code for code in STATUS if STATUS[code] == status):
        peer.replies = {commands.ListKeys: commands.Problem(code, "what happened", "what to do", {"rule": "r"})}
        response = served.http.get("/v1/keys", headers=bearer)
        assert response.status_code == status, code
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.headers.get("Retry-After") == ("5" if status in (202, 429, 503) else None), code
        body = response.json()
        assert body["request"] == response.headers["X-Request-ID"]
        assert {name: body[name] for name in ("code", "status", "detail", "hint", "instance", "details")} == {
            "code": code,
            "status": status,
            "detail": "what happened",
            "hint": "what to do",
            "instance": "/v1/keys",
            "details": {"rule": "r"},
        }


def test_a_keyroom_that_knows_when_to_retry_says_so(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    resting = commands.Problem("hsm-circuit-open", "token a rests", "retry in 9 s", {"retry_after": 9})
    peer.replies = {commands.ListKeys: resting}
    response = served.http.get("/v1/keys", headers=bearer)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "9")


def test_unknown_code_is_a_500_that_tells_nothing(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    peer.replies = {commands.ListKeys: commands.Problem("no-such-code", "secret /path", "secret", {"pin": "secret"})}
    response = served.http.get("/v1/keys", headers=bearer)
    assert (response.status_code, response.json()["code"]) == (500, "internal-error")
    assert "secret" not in response.text


def test_answer_of_another_kind_is_a_500(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    peer.replies = {commands.ListKeys: commands.TileRead(b"")}
    response = served.http.get("/v1/keys", headers=bearer)
    assert (response.status_code, response.json()["code"]) == (500, "internal-error")


def test_absent_keyroom_is_a_503_without_paths(down: Served, bearer: dict[str, str]) -> None:
    response = down.http.get("/v1/keys", headers=bearer)
    assert (response.status_code, response.json()["code"]) == (503, "keyroom-down")
    assert response.headers["Retry-After"] == "5"
    assert str(down.settings.socket) not in response.text


def test_unknown_url_and_method_are_problems(served: Served) -> None:
    unknown = served.http.get("/v2/keys")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "route-unknown")
    wrong = served.http.delete("/healthz")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method-not-allowed")
    assert wrong.headers["Allow"] == "GET"


def test_findings_on_fields_do_not_repeat_values(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    response = served.http.post(
        "/v1/ceremonies", headers=bearer, json={"id": "x y", "action": "a", "plan": "??", "pin": "hunter2-hunter2"}
    )
    assert (response.status_code, response.json()["code"]) == (422, "fields-invalid")
    assert {finding["field"] for finding in response.json()["details"]["fields"]} == {
        "body.id",
        "body.plan",
        "body.pin",
    }
    assert "hunter2" not in response.text
    assert peer.asked == []
