"""The web application of a witness: submissions, the last cosigned checkpoints, health."""

from typing import Annotated, Final

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.middleware import Middleware
from fastapi.params import Path

from api.errors import HANDLERS, NothingThere
from api.limits import BodyGuard
from api.witness.notary import TEXT, Notary, Reply
from pki.log.witnesses import MAX_SUBMISSION, PATH

BODY_GAP: Final = 5.0
BODY_TIME: Final = 10.0
OriginHash = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


def create_witness(notary: Notary) -> FastAPI:
    """The application. There is no authentication but the log's signature on what it submits (tlog-witness)."""
    app = FastAPI(
        title="Kedge witness",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers=dict(HANDLERS),
        middleware=[Middleware(BodyGuard, limit=MAX_SUBMISSION, gap=BODY_GAP, total=BODY_TIME)],
    )

    @app.post(f"/{PATH}")
    async def add_checkpoint(request: Request) -> Response:
        """Cosign a checkpoint that extends the last one, or say why not."""
        return respond(await run_in_threadpool(notary.answer, await request.body()))

    @app.get("/{name}/checkpoint")
    def show_checkpoint(name: OriginHash) -> Response:
        """The last checkpoint that was cosigned for a log, with its signatures."""
        note = notary.show(name)
        if note is None:
            raise NothingThere("nothing was cosigned for this log")
        return respond(Reply(200, note))

    @app.get("/healthz")
    def show_health() -> Response:
        """The process is up; its verifier key."""
        return Response(f"{notary.vkey.encode()}\n", media_type=TEXT)

    return app


def respond(reply: Reply) -> Response:
    """A reply as HTTP. `media_type` goes out as it is: tlog-witness names it exactly."""
    return Response(reply.body, reply.status, {"Content-Type": reply.media_type, "Cache-Control": "no-store"})
