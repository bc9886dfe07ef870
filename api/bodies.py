"""Reading request bodies: after the caller's token was seen, within the route's own limit, of the named media types."""

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from api.auth import Asking, Caller
from api.errors import BodyMissing, BodyTooLarge, MediaTypeUnsupported
from pki.jcs import parse_json

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
Model = TypeVar("Model", bound=BaseModel)


def check_media_type(request: Request, *accepted: str) -> None:
    """Raises MediaTypeUnsupported unless the body's media type is one of `accepted`; parameters are ignored."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in accepted:
        raise MediaTypeUnsupported(f"media type {media_type[:64]!r}", hint=f"send {' or '.join(accepted)}")


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises BodyTooLarge as soon as it is over `limit` bytes, BodyMissing when it is empty."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise BodyTooLarge(f"body is over {limit} bytes")
    if not body:
        raise BodyMissing("the request has no body")
    return bytes(body)


async def read_chunks(request: Request, size: int, limit: int) -> AsyncIterator[tuple[int, bytes, bool]]:
    """The body in chunks of `size` bytes as (offset, chunk, final), never more than `limit` bytes in all.

    Raises BodyTooLarge before a chunk that goes over the limit is handed out, BodyMissing when there is none.
    """
    waiting, offset = bytearray(), 0
    async for piece in request.stream():
        waiting += piece
        if offset + len(waiting) > limit:
            raise BodyTooLarge(f"body is over {limit} bytes")
        while len(waiting) > size:  # not >=: the last chunk waits for the end, to be called final
            yield offset, bytes(waiting[:size]), False
            del waiting[:size]
            offset += size
    if not waiting:
        raise BodyMissing("the request has no body")
    yield offset, bytes(waiting), True


def json_body(model: type[Model]) -> Callable[[Request, Caller], Coroutine[Any, Any, Model]]:
    """A dependency that reads the strict JSON body as `model`; use it with `json_schema` in `openapi_extra`."""

    async def read(request: Request, _: Asking) -> Model:
        check_media_type(request, JSON)
        limit: int = request.app.state.settings.json_limit
        value = parse_json(await read_body(request, limit), limit)
        try:
            return model.model_validate(value)
        except ValidationError as error:
            found = [{**item, "loc": ("body", *item["loc"])} for item in error.errors(include_input=False)]
            raise RequestValidationError(found) from error

    return read


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI description of a body read by `json_body`."""
    return {"requestBody": {"required": True, "content": {JSON: {"schema": model.model_json_schema()}}}}


def raw_schema(*media_types: str, description: str) -> dict[str, Any]:
    """The OpenAPI description of a body that is not JSON."""
    schema = {"schema": {"type": "string", "contentMediaType": OCTETS}}
    content = dict.fromkeys(media_types, schema)
    return {"requestBody": {"required": True, "description": description, "content": content}}
