"""Requests as they come on the wire."""

import msgspec

from ceremonies.commands import Request

_DECODE = msgspec.msgpack.Decoder(Request).decode


def decode_command(fields: dict[str, object]) -> Request:
    """The request with this command. Raises msgspec.ValidationError."""
    return _DECODE(msgspec.msgpack.encode({"id": 1, "command": fields}))
