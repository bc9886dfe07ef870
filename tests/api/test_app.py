import json
import subprocess
import sys
from typing import Any, get_args

import pytest

from api.app import create_app
from api.auth import ROLES
from api.errors import STATUS
from api.settings import ApiSettings
from ceremonies import commands
from tests.api.conftest import Served


@pytest.fixture
def description(settings: ApiSettings) -> dict[str, Any]:
    return create_app(settings).openapi()


def operations(description: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(verb, path, found) for path, item in description["paths"].items() for verb, found in item.items()]


def test_description_is_served_and_has_every_route(served: Served, description: dict[str, Any]) -> None:
    assert served.http.get("/openapi.json").json() == json.loads(json.dumps(description))
    assert len(operations(description)) == len(ROLES)


def test_every_operation_says_how_it_refuses(description: dict[str, Any]) -> None:
    assert "Problem" in description["components"]["schemas"]
    for _, path, operation in operations(description):
        assert {"401", "403", "409", "413", "422", "503"} <= operation["responses"].keys(), path
        assert "application/problem+json" in operation["responses"]["409"]["content"]


def test_json_bodies_have_examples_and_refuse_other_fields(description: dict[str, Any]) -> None:
    bodies = [
        content["application/json"]["schema"]
        for _, _, operation in operations(description)
        for content in [operation.get("requestBody", {}).get("content", {})]
        if "application/json" in content
    ]
    assert len(bodies) == 21
    for schema in bodies:
        assert schema["additionalProperties"] is False
        assert schema["examples"]


def test_operations_have_distinct_names(description: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(description)]
    assert len(set(names)) == len(names)


def test_web_process_loads_neither_strongbox_nor_database() -> None:
    code = (
        "import api.cli.main, api.cli.serve, api.app, sys;"
        "print([n for n in sys.modules if n.split('.')[0] in ('pkcs11', 'hsm', 'sqlmodel', 'sqlalchemy', 'alembic')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_pages_with_foreign_scripts(served: Served) -> None:
    assert [served.http.get(path).status_code for path in ("/docs", "/redoc")] == [404, 404]


def test_commands_that_people_may_not_send_are_local_only() -> None:
    local = [command for command in get_args(commands.AnyCommand) if command.roles == commands.LOCAL]
    assert local == [commands.OpenGenesis]
    assert STATUS["role-refused"] == 403
