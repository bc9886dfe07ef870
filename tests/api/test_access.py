import json

import pytest
import structlog
from structlog.testing import capture_logs

from api.access import HEADERS, configure_log
from tests.api.conftest import TOKEN, Served


def test_every_answer_has_security_headers_and_a_number(served: Served, bearer: dict[str, str]) -> None:
    for response in (
        served.http.get("/healthz"),
        served.http.get("/nowhere"),
        served.http.get("/v1/keys"),
        served.http.get("/healthz", headers={"Host": "evil.example"}),
    ):
        assert all(response.headers[name.decode()] == value.decode() for name, value in HEADERS.items())
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Request-ID"]
    numbers = {served.http.get("/healthz", headers=bearer).headers["X-Request-ID"] for _ in range(5)}
    assert len(numbers) == 5


@pytest.mark.usefixtures("peer")
@pytest.mark.req("HS-5", "AU-4")
def test_log_has_the_request_and_never_the_token(served: Served, bearer: dict[str, str]) -> None:
    with capture_logs() as lines:
        served.http.get("/v1/keys?access_token=" + TOKEN, headers={**bearer, "Cookie": TOKEN})
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["method"], line["path"], line["route"], line["status"]) == ("GET", "/v1/keys", "/v1/keys", 200)
    assert TOKEN not in str(lines)


def test_refusal_is_logged_with_its_code(down: Served, bearer: dict[str, str]) -> None:
    with capture_logs() as lines:
        number = down.http.get("/v1/keys", headers=bearer).headers["X-Request-ID"]
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["problem"], line["request"]) == ("keyroom-down", number)


@pytest.mark.usefixtures("peer")
def test_defect_is_a_500_without_its_text(
    served: Served, bearer: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("api.routes.keys.KeysOut.model_validate", fail)
    with capture_logs() as lines:
        response = served.http.get("/v1/keys", headers=bearer)
    assert (response.status_code, response.json()["code"]) == (500, "internal-error")
    assert "secret" not in response.text
    assert [line["log_level"] for line in lines if line["event"] == "failed"] == ["error"]


def test_lines_are_json_that_hostile_paths_cannot_break(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.reset_defaults()
    configure_log()
    structlog.get_logger().info("request", path='/a"\n{"event":"forged"}')
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["path"] == '/a"\n{"event":"forged"}'
