"""Rows: an index over signed bytes. What decides is in the journal and in the documents, never in a row alone.

Times are integer microseconds since 1970 (UTC). Digests and key names are lowercase hex. No row leaves this package.
"""

from typing import ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, LargeBinary
from sqlmodel import Field, SQLModel

CLUSTERED = {"sqlite_with_rowid": False}
"""Rows lie in the tree of their key: one page to touch instead of two. For small rows."""

ROWID = BigInteger().with_variant(Integer(), "sqlite")
"""A number of 64 bits that names the row itself: the type INTEGER, which SQLite wants for that, has as many there."""


class EntryRow(SQLModel, table=True):
    """One journal entry: the leaf verbatim, and its RFC 6962 leaf hash."""

    __tablename__ = "entry"
    seq: int = Field(sa_column=Column(ROWID, primary_key=True, autoincrement=False))
    type: str
    leaf: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class HeadRow(SQLModel, table=True):
    """The one row that says where the journal ends. Every entry before `settled` that opens an operation is closed."""

    __tablename__ = "head"
    id: int = Field(primary_key=True)
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    frontier: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    last: str
    ts_us: int = Field(sa_column=Column(BigInteger, nullable=False))
    settled: int = Field(sa_column=Column(BigInteger, nullable=False))


class TileRow(SQLModel, table=True):
    """A full hash tile (C2SP tlog-tiles): 256 hashes of 32 bytes."""

    __tablename__ = "tile"
    level: int = Field(primary_key=True)
    number: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    hashes: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class BlobRow(SQLModel, table=True):
    """Bytes by their SHA-256: drafts, to-be-signed bytes, requests, documents, public keys, approvals.

    `seq` is the first entry of the growth that brought them: an export of a smaller tree leaves them out.
    """

    __tablename__ = "blob"
    sha256: str = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class EvidenceRow(SQLModel, table=True):
    """Blobs of bulk work (device certificates), by their entry: statement, bytes to sign and request at the intent, the
    document at the outcome. An index by digest would touch a page of its own for each; `document` finds what is asked.
    `parts` is a MessagePack array of byte strings.
    """

    __tablename__ = "evidence"
    seq: int = Field(sa_column=Column(ROWID, primary_key=True, autoincrement=False))
    parts: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class DocumentRow(SQLModel, table=True):
    """A sealed document, and the outcome entry that released it."""

    __tablename__ = "document"
    __table_args__: ClassVar[dict[str, bool]] = CLUSTERED
    sha256: str = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    kind: str
    name: str


class ReservationRow(SQLModel, table=True):
    """A name that was spent: a serial, a version, a token id. It stays spent, whatever became of the operation.

    `owner` is the idempotency key of the request that spent it; the same request may come back for the same bytes.
    """

    __tablename__ = "reservation"
    __table_args__: ClassVar[dict[str, bool]] = CLUSTERED
    name: str = Field(primary_key=True)
    owner: str
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))


class RequestRow(SQLModel, table=True):
    """A request by its idempotency key: what it asked (`body`), how its draft was made (`recipe`, JCS), what became.

    `digest` is the draft's: after a crash the same bytes may be sealed again, and nothing else.
    `seq` is the intent entry; `outcome` is the outcome entry, absent while unknown.
    """

    __tablename__ = "request"
    __table_args__: ClassVar[dict[str, bool]] = CLUSTERED
    id: str = Field(primary_key=True)
    body: str
    digest: str
    recipe: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    outcome: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    document: str | None = None


class KeyRow(SQLModel, table=True):
    """A key that the strongbox holds, or held.

    `uses` is the last `kctr` given out; `thumbprint` the COSE Key Thumbprint (RFC 9679): the kid in trust sets.
    """

    __tablename__ = "key"
    spki: str = Field(primary_key=True)
    label: str = Field(unique=True)
    role: str = Field(index=True)
    scope: str
    algorithm: str
    token: str
    token_serial: str
    cka_id: str
    thumbprint: str
    state: str
    uses: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_seq: int = Field(sa_column=Column(BigInteger, nullable=False))


class WorkOrderRow(SQLModel, table=True):
    """An approved work order and how much of it is used. The constraint holds the quota whatever the code does."""

    __tablename__ = "work_order"
    __table_args__ = (CheckConstraint("issued <= quantity", name="work_order_quota"),)
    id: str = Field(primary_key=True)
    document: str
    quantity: int
    issued: int


class DeviceRow(SQLModel, table=True):
    """A device certificate: one per serial; one per public key by its reservation. `ueid` is 01 and spki."""

    __tablename__ = "device"
    __table_args__: ClassVar[dict[str, bool]] = CLUSTERED
    serial: str = Field(primary_key=True)
    spki: str
    ueid: str
    work_order: str
    class_name: str
    certificate: str
    public_key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class CertificateRow(SQLModel, table=True):
    """A certificate of the hierarchy: a CA's, under its key's label, or a link between two roots (`new@old`)."""

    __tablename__ = "certificate"
    label: str = Field(primary_key=True)
    spki: str
    document: str


class TrustSetRow(SQLModel, table=True):
    """A published trust set by its order index (64 * generation + epoch)."""

    __tablename__ = "trust_set"
    index: int = Field(primary_key=True)
    payload_sha256: str
    document: str


class ReleaseRow(SQLModel, table=True):
    """A signed release: version and security version per class, component and channel."""

    __tablename__ = "release"
    id: str = Field(primary_key=True)
    class_name: str = Field(index=True)
    channel: str
    component: int
    version: str
    security_version: int = Field(sa_column=Column(BigInteger, nullable=False))
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))
    image: str
    set_index: int
    manifest: str
    manifest_payload: str


class CounterUpdateRow(SQLModel, table=True):
    """A published counter update by its sequence."""

    __tablename__ = "counter_update"
    sequence: int = Field(sa_column=Column(BigInteger, primary_key=True))
    class_name: str
    domain: int
    floor: int = Field(sa_column=Column(BigInteger, nullable=False))
    document: str


class CeremonyRow(SQLModel, table=True):
    """A ceremony: what was asked, by whom, and how far it is. `plan` is JCS."""

    __tablename__ = "ceremony"
    id: str = Field(primary_key=True)
    action: str
    state: str
    proposer: str
    chg: str
    plan: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    opened_us: int = Field(sa_column=Column(BigInteger, nullable=False))


class StepRow(SQLModel, table=True):
    """A step of a ceremony that officers approve: the approval statement without officer and decision (JCS)."""

    __tablename__ = "step"
    ceremony: str = Field(primary_key=True)
    step: str = Field(primary_key=True)
    template: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    shown: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    recipe: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    done: bool


class ApprovalRow(SQLModel, table=True):
    """An officer's signed statement on a step, verbatim. It counts only when the door verifies it again."""

    __tablename__ = "approval"
    ceremony: str = Field(primary_key=True)
    step: str = Field(primary_key=True)
    officer: str = Field(primary_key=True)
    statement: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    signature: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    hash: str


class GoverningRow(SQLModel, table=True):
    """Where the journal records the roster and the policy in force: `name` is the entry's type."""

    __tablename__ = "governing"
    name: str = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))


class ChallengeRow(SQLModel, table=True):
    """A nonce given out for a receipt. It counts once, and not after `expires_us`."""

    __tablename__ = "challenge"
    nonce: str = Field(primary_key=True)
    campaign: str
    expires_us: int = Field(sa_column=Column(BigInteger, nullable=False))


class ReceiptRow(SQLModel, table=True):
    """A verified receipt: the facts that gates count. `sequence` rises per device."""

    __tablename__ = "receipt"
    __table_args__ = (Index("receipt_by_device", "ueid", "sequence"),)
    payload_sha256: str = Field(primary_key=True)
    ueid: str
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))
    nonce: str = Field(unique=True)
    set_index: int
    set_hash: str
    state: int
    facts: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    document: str
    received_us: int = Field(sa_column=Column(BigInteger, nullable=False))


class CosignedRow(SQLModel, table=True):
    """A checkpoint that a quorum of witnesses cosigned, by tree size; verbatim, with the cosignatures."""

    __tablename__ = "cosigned"
    size: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    note: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class StampRow(SQLModel, table=True):
    """A time-stamp (RFC 3161, DER TimeStampResp) over a checkpoint, which stands here as it was stamped."""

    __tablename__ = "stamp"
    size: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    note: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    response: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
