"""The fleet: statements on devices after the factory, and what the fleet is like."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Response
from pydantic import ConfigDict, Field

from api.auth import Asking
from api.bodies import json_body, json_schema
from api.errors import FieldsInvalid
from api.routes.encodings import DigestPath, In, Name, NamePath, Out, write_out
from api.routes.releases import IdempotencyKey
from ceremonies.commands import (
    FLEET_LIMIT,
    STATEMENTS_LIMIT,
    CheckImport,
    FleetQueried,
    ImportChecked,
    LabelShown,
    QueryFleet,
    RecordStatements,
    ShowLabel,
    Statement,
    StatementsRecorded,
)

Cell = Annotated[str, Field(max_length=256)]
router = APIRouter(tags=["fleet"])


class StatementIn(In):
    """A statement: which fields an act takes stands in docs/fleet.md."""

    act: Literal["ship", "install", "move", "replace", "return", "decommission"]
    serial: Name = Field(examples=["BMS-0000417"])
    operator: Cell = ""
    site: Cell = ""
    rack: Cell = ""
    asset: Cell = ""
    by: Cell = ""
    reason: Cell = ""


class StatementsIn(In):
    """Statements, each judged alone, in order. What is malformed is refused as a whole, and nothing is done."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "statements": [
                        {"act": "install", "serial": "BMS-0000417", "operator": "north-power", "site": "hornsea-1"}
                    ]
                }
            ]
        }
    )

    statements: Annotated[tuple[StatementIn, ...], Field(min_length=1, max_length=STATEMENTS_LIMIT)]


class VerdictOut(Out):
    """What became of a statement: the device's state now, and why it was refused where `code` is not empty."""

    serial: str
    state: str = Field(examples=["installed"])
    code: str
    message: str
    hint: str


class StatementsOut(Out):
    """One verdict for each statement, in order; `index` is the journal entry that names them."""

    verdicts: tuple[VerdictOut, ...]
    index: int
    replayed: bool


class BadLineOut(Out):
    """A line of the file that cannot be done."""

    line: int
    why: str


class ImportOut(Out):
    """What an import would do: statements by act; the bad lines, the first thousand of `bad_count`."""

    acts: dict[str, int]
    bad: tuple[BadLineOut, ...]
    bad_count: int


class FleetDeviceOut(Out):
    """A device: where the register says it is, and what it said in its newest verified receipt (`heard`; 0: none)."""

    serial: str
    class_name: str
    ueid: str
    work_order: str
    state: str
    operator: str
    site: str
    rack: str
    asset: str
    link: str = Field(description="The serial that it replaces or is replaced by.")
    since: int = Field(description="Its last statement, seconds since 1970.")
    heard: int = Field(description="Its newest receipt, seconds since 1970; 0: never, and what follows says nothing.")
    set_index: int
    stable: bool
    firmware: str
    floors: dict[str, int]
    alarm: str
    baseline: str = Field(description="met, off, or none when the baseline does not name the class.")


class FleetOut(Out):
    """Devices by serial; ask again with `following` as `after` until it is empty."""

    devices: tuple[FleetDeviceOut, ...]
    following: str
    baseline: int = Field(description="Sequence of the newest baseline; 0: none.")


class LabelOut(Out):
    """What stands on a device's label."""

    serial: str
    class_name: str
    lfdi: str
    text: str


class FleetQuery(In):
    """Filters; a device must fit all that are given."""

    serial: Cell = ""
    class_name: Cell = ""
    site: Cell = ""
    rack: Cell = ""
    state: Literal["", "issued", "shipped", "installed", "replaced", "returned", "decommissioned"] = ""
    set_below: int = 0
    floor_domain: int = 2
    floor_below: int = 0
    firmware_below: Cell = ""
    off_baseline: bool = False
    silent_since: int = 0
    after: Cell = ""
    limit: int = FLEET_LIMIT


@router.post("/v1/fleet/statements", response_model=StatementsOut, openapi_extra=json_schema(StatementsIn))
async def record_statements(
    caller: Asking, idempotency_key: IdempotencyKey, body: Annotated[StatementsIn, Depends(json_body(StatementsIn))]
) -> Response:
    """Say where devices are. The same key with the same statements gives the same answer."""
    items = tuple(
        convert({name: value for name, value in item.model_dump().items() if value}, Statement, f"statement {number}")
        for number, item in enumerate(body.statements, 1)
    )
    return write_out(
        StatementsOut.model_validate(await caller.ask(RecordStatements(idempotency_key, items), StatementsRecorded))
    )


@router.get("/v1/fleet", response_model=FleetOut)
async def query_fleet(caller: Asking, query: Annotated[FleetQuery, Query()]) -> Response:
    """The devices that fit every filter. One that was never heard fits whatever a receipt would have to deny."""
    command = convert(query.model_dump(), QueryFleet, "query")
    return write_out(FleetOut.model_validate(await caller.ask(command, FleetQueried)))


@router.get("/v1/fleet/imports/{sha256}")
async def check_import(caller: Asking, sha256: DigestPath) -> ImportOut:
    """What the ceremony `register-import` of an uploaded file would do: nothing is done, every bad line is named."""
    return ImportOut.model_validate(await caller.ask(CheckImport(sha256), ImportChecked))


@router.get("/v1/fleet/labels/{serial}")
async def show_label(caller: Asking, serial: NamePath) -> LabelOut:
    """What stands on a device's label; `text` is for its QR code."""
    return LabelOut.model_validate(await caller.ask(ShowLabel(serial), LabelShown))


def convert(fields: dict[str, Any], kind: Any, what: str) -> Any:
    """A part of a command from its fields. Raises FieldsInvalid, which never repeats the caller's values."""
    try:
        return msgspec.convert(fields if kind is Statement else {"do": "query-fleet", **fields}, kind)
    except msgspec.ValidationError as error:
        raise FieldsInvalid(f"{what}: {error}", hint="see docs/fleet.md") from error
