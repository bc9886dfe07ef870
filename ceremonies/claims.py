"""What an intent spends: idempotency keys, reserved names, quota. Decided in the transaction that writes the intent.

The one writer decides in Python over rows read under the write lock; the constraints of the tables stand behind it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import Connection

from ceremonies.errors import KeyroomError
from ceremonies.grant_tables import QuotaGrantRow
from ceremonies.granted import Grants
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.orders import Order, RequestKey
from ceremonies.replay import Quota
from ceremonies.statements import select_in
from ceremonies.store import Change, Insert, Row, Update, octets
from ceremonies.tables import RequestRow, ReservationRow, WorkOrderRow
from ceremonies.units import ISSUED

LARGEST_IN = 500


class RequestMismatch(KeyroomError):
    """An idempotency key came again with another request."""

    code = "request-mismatch"


class RequestOpen(KeyroomError):
    """The request has an intent (`seq`) without outcome, for other bytes. `recipe` (JCS) makes the same bytes again."""

    code = "request-open"

    def __init__(self, owner: str, recipe: bytes, seq: int) -> None:
        super().__init__(f"request {owner} has an open intent", hint="seal the bytes of its recipe")
        self.recipe = recipe
        self.seq = seq


class QuotaExhausted(KeyroomError):
    """A work order has no units left."""

    code = "quota-exhausted"


class WorkOrderClosed(KeyroomError):
    """The work order is not valid now, or was closed for good."""

    code = "work-order-closed"


class GrantMissing(KeyroomError):
    """A site box has no grant for this CA: it issues nothing."""

    code = "grant-missing"


class GrantOver(KeyroomError):
    """The grant of a site box is not valid now, or another has taken its place."""

    code = "grant-over"


class GrantExhausted(KeyroomError):
    """The grant of a site box has no certificates left."""

    code = "grant-exhausted"


class Known(msgspec.Struct, frozen=True):
    """The request was answered before: `seq` is its outcome entry."""

    seq: int
    document: str


class Claim(msgspec.Struct, frozen=True):
    """The order may go on and spends `names`.

    `earlier`: the intent of the same request that was closed without a document; quota and other names are spent.
    """

    names: tuple[str, ...]
    earlier: int | None = None

    @property
    def fresh(self) -> bool:
        """Whether the request comes for the first time."""
        return self.earlier is None


class Same(msgspec.Struct, frozen=True):
    """The order repeats the one at `position` of this batch and shares its fate."""

    position: int


Verdict = Claim | Known | Same | KeyroomError


class Books(msgspec.Struct):
    """The rows that a batch meets, as its earlier orders have left them. `first`: request id to position and body.
    `closed`: work orders that nothing more is issued for, not even what was begun. `granted`: what is left of each
    grant of a site box, or why nothing is; None where no grant is needed.
    """

    requests: Mapping[str, Row]
    spent: dict[str, str]
    left: dict[str, int]
    first: dict[str, tuple[int, str]]
    closed: frozenset[str]
    granted: dict[str, int | KeyroomError] | None


def name_device_key(spki: str) -> str:
    """The name that a device certificate spends for its key (lowercase hex SHA-256 of SubjectPublicKeyInfo)."""
    return f"device-key:{spki}"


def decide_claims(
    connection: Connection, orders: Sequence[Order], quotas: Mapping[str, Quota], grants: Grants | None = None
) -> list[Verdict]:
    """One verdict per order, in order. Nothing is written. quotas, grants: what the journal says of them."""
    requests = _load(connection, RequestRow, "id", (order.request.id for order in orders if order.request))
    names = _load(connection, ReservationRow, "name", (item.name for order in orders for item in order.reserve))
    units = _load(connection, WorkOrderRow, "id", (order.work_order for order in orders if order.work_order))
    left = {
        name: row["quantity"] - row["issued"]
        for name, row in units.items()
        if name in quotas and (quotas[name].quantity, quotas[name].issued) == (row["quantity"], row["issued"])
    }
    closed = frozenset(name for name in units if name in quotas and quotas[name].closed)
    granted = _load_granted(connection, orders, grants) if grants and grants.centre else None
    books = Books(requests, {name: row["owner"] for name, row in names.items()}, left, {}, closed, granted)
    verdicts: list[Verdict] = []
    for position, order in enumerate(orders):
        verdict = _decide(order, books)
        if isinstance(verdict, Claim):
            _spend(order, position, verdict, books)
        verdicts.append(verdict)
    return verdicts


def _decide(order: Order, books: Books) -> Verdict:
    known = books.requests.get(order.request.id) if order.request else None
    if order.request is not None:
        if (repeated := _find_repeated(order, order.request, known, books)) is not None:
            return repeated
        owner = order.request.id
    else:
        owner = ""
    if order.work_order in books.closed:
        return WorkOrderClosed(f"work order {order.work_order} was closed", hint="call the supervisor")
    for item in order.reserve:
        if item.name in books.spent and (known is None or books.spent[item.name] != owner):
            return item.refusal
    names = tuple(item.name for item in order.reserve if item.name not in books.spent)
    if known is not None:
        return Claim(names, known["seq"])
    if order.closed is not None:
        return order.closed
    if order.work_order and order.work_order not in books.left:
        return JournalForked(f"work order {order.work_order}: its row is not what the journal says", hint=RESTORE)
    if order.work_order and not order.rework and books.left[order.work_order] < 1:
        return QuotaExhausted(f"work order {order.work_order} is exhausted", hint="call the supervisor")
    return _refuse_ungranted(order, books) or Claim(names)


def _load_granted(connection: Connection, orders: Iterable[Order], grants: Grants) -> dict[str, int | KeyroomError]:
    """What is left of each grant that these orders name, or why nothing is begun under it."""
    rows = _load(connection, QuotaGrantRow, "id", (order.grant for order in orders))
    found: dict[str, int | KeyroomError] = {}
    for name, grant in grants.held.items():
        row = rows.get(name, {"quantity": 0, "issued": 0})
        if grants.current(grant.ca) != grant:
            found[name] = GrantOver(f"grant {name} was replaced by another", hint="send the request again")
        elif (row["quantity"], row["issued"]) != (grant.quantity, grant.used):
            found[name] = JournalForked(f"grant {name}: its row is not what the journal says", hint=RESTORE)
        else:
            found[name] = grant.left
    return found


def _refuse_ungranted(order: Order, books: Books) -> KeyroomError | None:
    """At a site box no device certificate is begun without a grant, whatever flow asks for it."""
    if books.granted is None or order.draft.kind not in ISSUED:
        return None
    left = books.granted.get(order.grant or "")
    if left is None:
        return GrantMissing("this site box has no grant for its CA", hint="import a grant of the centre")
    if isinstance(left, KeyroomError):
        return left
    if left < 1:
        return GrantExhausted(f"grant {order.grant} is used up", hint="ask the centre for the next grant")
    return None


def _find_repeated(order: Order, request: RequestKey, known: Row | None, books: Books) -> Verdict | None:
    """What an idempotency key that came before means: the same answer, or a refusal. None when the order may go on."""
    position, body = books.first.get(request.id, (None, known["body"] if known else request.body))
    if body != request.body:
        return RequestMismatch(f"request {request.id} was another request before", hint="use a new idempotency key")
    if known is not None and known["outcome"] is not None:
        return Known(known["outcome"], known["document"])
    if position is not None:
        return Same(position)
    if known is not None and known["digest"] != order.draft.digest:
        return RequestOpen(request.id, octets(known["recipe"]), known["seq"])
    return None


def _spend(order: Order, position: int, claim: Claim, books: Books) -> None:
    owner = order.request.id if order.request else ""
    books.spent.update(dict.fromkeys(claim.names, owner))
    if order.request:
        books.first[order.request.id] = (position, order.request.body)
    if order.work_order and claim.fresh and not order.rework:
        books.left[order.work_order] -= 1
    if order.grant and claim.fresh and books.granted:
        left = books.granted[order.grant]
        books.granted[order.grant] = left - 1 if isinstance(left, int) else left


def claim_changes(
    claimed: Iterable[tuple[Order, Verdict | None, int]],
    quotas: Mapping[str, int],
    grants: Mapping[str, int] | None = None,
) -> list[Change]:
    """The rows of accepted claims: (order, claim, index of its intent), and new `issued` counts by order and grant."""
    changes: list[Change] = []
    for order, claim, seq in claimed:
        if not isinstance(claim, Claim):
            continue
        request = order.request
        owner = request.id if request else ""
        changes += [Insert(ReservationRow, {"name": name, "owner": owner, "seq": seq}) for name in claim.names]
        if request is not None and claim.fresh:
            values = {"id": request.id, "body": request.body, "digest": order.draft.digest, "recipe": request.recipe}
            changes.append(Insert(RequestRow, {**values, "seq": seq, "outcome": None, "document": None}))
        elif request is not None:
            changes.append(Update(RequestRow, {"id": request.id}, {"seq": seq}))
    changes += [Update(WorkOrderRow, {"id": name}, {"issued": count}) for name, count in quotas.items()]
    return changes + [Update(QuotaGrantRow, {"id": name}, {"issued": count}) for name, count in (grants or {}).items()]


def count_quotas(connection: Connection, decided: Iterable[tuple[Order, Verdict | None]]) -> dict[str, int]:
    """The `issued` count of each work order after these verdicts."""
    accepted = (order for order, verdict in decided if isinstance(verdict, Claim) and verdict.fresh)
    used = Counter(order.work_order for order in accepted if order.work_order and not order.rework)
    rows = _load(connection, WorkOrderRow, "id", used)
    return {name: row["issued"] + used[name] for name, row in rows.items()}


def count_grants(connection: Connection, decided: Iterable[tuple[Order, Verdict | None]]) -> dict[str, int]:
    """The `issued` count of each grant after these verdicts; what is reworked counts as well."""
    accepted = (order for order, verdict in decided if isinstance(verdict, Claim) and verdict.fresh)
    used = Counter(order.grant for order in accepted if order.grant)
    rows = _load(connection, QuotaGrantRow, "id", used)
    return {name: row["issued"] + used[name] for name, row in rows.items()}


def _load(connection: Connection, model: type, column: str, keys: Iterable[str | None]) -> dict[str, Row]:
    """Rows by key, in statements of bounded size."""
    wanted = sorted({key for key in keys if key})
    found: dict[str, Row] = {}
    for start in range(0, len(wanted), LARGEST_IN):
        rows = select_in(connection, model, column, wanted[start : start + LARGEST_IN])
        found.update({row[column]: row for row in rows})
    return found
