"""Work orders as people read them: figures, and reports of units as JSON or CSV."""

from typing import Annotated, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from api.auth import Asking
from api.routes.encodings import In, NamePath, Out, write_out
from api.sheets import MEDIA_TYPE, write_line
from ceremonies.commands import (
    ROWS_LIMIT,
    ListWorkOrders,
    ReportUnits,
    ShowWorkOrder,
    UnitsReported,
    WorkOrderShown,
    WorkOrdersListed,
)

router = APIRouter(tags=["work orders"])
SERIAL: Final = r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$"


class PageIn(In):
    """Which units: those behind the serial `after`, in one state or in any, at most so many."""

    after: Annotated[str, Field(pattern=SERIAL)] = ""
    state: Literal["", "unconfirmed", "confirmed", "scrapped", "excused", "revoked"] = ""
    limit: Annotated[int, Field(ge=1, le=ROWS_LIMIT)] = ROWS_LIMIT
    format: Literal["json", "csv"] = "json"


class WorkOrderOut(Out):
    """A work order in figures. Times are seconds since 1970."""

    work_order: str
    profile: str
    class_name: str
    plant: str
    lines: tuple[str, ...] = Field(description="Only these may ask, where some are named.")
    stations: tuple[str, ...] = Field(description="The same.")
    state: str = Field(description="open; waiting (before its window), over (after it), closed", examples=["open"])
    valid_from: int
    valid_to: int
    quantity: int
    used: int = Field(description="Units of the quota that requests have used.")
    remaining: int
    issued: int = Field(description="Units that have a certificate: confirmed, unconfirmed or scrapped.")
    confirmed: int
    unconfirmed: int
    scrapped: int
    replaced: int = Field(description="Certificates that rework has replaced.")
    refused: int = Field(description="Requests that got no certificate.")
    duplicates: int = Field(description="Those of them in which a serial or a key came for the second time.")
    rework_quantity: int
    reworked: int = Field(description="Permits for rework that were opened.")
    withdrawing: int = Field(description="Certificates at most that its closing is still revoking.")


class WorkOrdersOut(Out):
    """Work orders by id."""

    work_orders: tuple[WorkOrderOut, ...]


class UnitOut(Out):
    """A unit. `issued`, `confirmed`, `scrapped` are journal entries; `certificate` and `replaced` are digests."""

    serial: str
    state: str = Field(examples=["unconfirmed"])
    certificate: str
    ueid: str
    issued: int
    confirmed: int | None
    scrapped: int | None
    replaced: tuple[str, ...] = Field(description="The certificates that it had before, oldest first.")


class ReportOut(Out):
    """Units by serial. Ask again with `following` as `after`, until it is empty."""

    work_order: str
    units: tuple[UnitOut, ...]
    following: str


@router.get("/v1/work-orders")
async def list_work_orders(caller: Asking) -> WorkOrdersOut:
    """The work orders; an operator sees those of the own plants."""
    return WorkOrdersOut.model_validate(await caller.ask(ListWorkOrders(), WorkOrdersListed))


@router.get("/v1/work-orders/{work_order}")
async def show_work_order(caller: Asking, work_order: NamePath) -> WorkOrderOut:
    """One work order."""
    return WorkOrderOut.model_validate(await caller.ask(ShowWorkOrder(work_order), WorkOrderShown))


@router.get(
    "/v1/work-orders/{work_order}/report",
    response_model=ReportOut,
    responses={200: {"content": {"text/csv": {}}, "description": "Units. CSV: a Link header names the next page."}},
)
async def report_units(
    request: Request,
    caller: Asking,
    work_order: NamePath,
    page: Annotated[PageIn, Query()],
) -> Response:
    """The units of a work order, a page at a time."""
    units = await caller.ask(ReportUnits(work_order, page.after, page.state, page.limit), UnitsReported)
    report = ReportOut.model_validate(units)
    if page.format == "json":
        return write_out(report)
    headers = {"Content-Disposition": f'attachment; filename="{work_order}.csv"'}
    if report.following:
        query = urlencode({**page.model_dump(), "after": report.following})
        headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
    return Response(write_csv(report.units, head=not page.after), media_type=MEDIA_TYPE, headers=headers)


def write_csv(units: tuple[UnitOut, ...], *, head: bool = True) -> str:
    """Units as CSV; several digests are separated by spaces."""
    lines = [write_line(UnitOut.model_fields)] if head else []
    rows = (unit.model_copy(update={"replaced": " ".join(unit.replaced)}) for unit in units)
    return "".join([*lines, *(write_line(getattr(row, name) for name in UnitOut.model_fields) for row in rows)])
