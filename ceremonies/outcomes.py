"""What answers are made of: where the journal records a document, or why there is none."""

from typing import Any

from msgspec import Struct


class Proven(Struct, frozen=True):
    """Where the journal records a document: its outcome entry (leaf bytes) and a C2SP tlog-proof of it."""

    index: int
    entry: bytes
    proof: bytes


class Problem(Struct, frozen=True, tag="problem"):
    """A refusal or a failure: the error's stable `code`, what happened, and what to do next."""

    code: str
    message: str
    hint: str = ""
    details: dict[str, Any] = {}
