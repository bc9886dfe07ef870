"""The web application: routes, handlers and limits put together. It holds no key, no database and no decision."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI
from fastapi.middleware import Middleware
from fastapi.routing import APIRoute
from starlette.middleware.trustedhost import TrustedHostMiddleware

from api.access import AccessLog, configure_log
from api.boards import Boards
from api.errors import HANDLERS, PROBLEM_RESPONSES, ProblemOut
from api.limits import BodyGuard
from api.metrics import Metrics
from api.pages import PAGES
from api.routes import ROUTERS
from api.settings import ApiSettings
from ceremonies.client import KeyroomClient
from ceremonies.commands import ARTEFACT_LIMIT

DESCRIPTION: Final = """Kedge signs what a fleet of energy-storage controllers trusts for its updates.

Every answer that a key made carries its journal entry and a C2SP tlog-proof. Refusals are problem+json (RFC 9457):
`code` names the rule, `hint` says what to do. Binary values in JSON are base64 (RFC 4648 section 4)."""


def create_app(settings: ApiSettings) -> FastAPI:
    """The application for one process. It opens the keyroom's socket when it is first needed."""
    metrics = Metrics()
    app = FastAPI(
        title="Kedge",
        version="1",
        description=DESCRIPTION,
        lifespan=_connect,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # api.metrics and api.access do it
        generate_unique_id_function=_name_operation,
        responses=PROBLEM_RESPONSES,
        exception_handlers=dict(HANDLERS),
        middleware=[
            Middleware(AccessLog, metrics=metrics),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(settings.allowed_hosts), www_redirect=False),
            Middleware(BodyGuard, limit=ARTEFACT_LIMIT, gap=settings.body_gap, total=settings.body_time),
        ],
    )
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.keyroom = KeyroomClient(settings.place, timeout=settings.keyroom_timeout)
    app.state.boards = Boards()
    for router in (*ROUTERS, *PAGES):
        app.include_router(router)
    _describe(app)
    return app


def create_worker() -> FastAPI:
    """The application of a worker process: its settings come from the environment that `kedge serve` made."""
    configure_log()
    return create_app(ApiSettings.from_environment(os.environ))


@asynccontextmanager
async def _connect(app: FastAPI) -> AsyncIterator[None]:
    yield
    await app.state.keyroom.close()


def _name_operation(route: APIRoute) -> str:
    return route.name


def _describe(app: FastAPI) -> None:
    """Add what FastAPI cannot know: the problem schema and the bearer scheme. The description is made once."""
    description: dict[str, Any] = app.openapi()
    components = description.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = ProblemOut.model_json_schema()
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
