"""What a service that the keyroom asked over HTTP answers, with a limit."""

import httpx

CHUNK = 4096


async def read_body(response: httpx.Response, limit: int) -> bytes | None:
    """The body of a streamed response, as sent, without decoding; None when it has more than `limit` bytes.

    Raises httpx.HTTPError.
    """
    body = b""
    async for chunk in response.aiter_raw(CHUNK):
        body += chunk
        if len(body) > limit:
            return None
    return body
