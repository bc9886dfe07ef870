"""What may be read: documents, lists, the journal."""

from typing import Annotated, Literal

from msgspec import Meta

from ceremonies.commands.command import LOCAL, PUBLIC, STAFF, Command, Hex32, Index


class ReadDocument(Command, frozen=True, tag="read-document"):
    """A sealed document by its digest, with entry and proof."""

    roles = STAFF | frozenset({"pipeline", "station", "gateway"})
    digest: Hex32


class ListTrustSets(Command, frozen=True, tag="list-trust-sets"):
    """The chain of trust sets from an order index on, oldest first. Public: devices need it."""

    roles = PUBLIC
    start: Index = 0


class ListCounterUpdates(Command, frozen=True, tag="list-counter-updates"):
    """All counter updates, oldest first. Public: devices need them."""

    roles = PUBLIC


class ListCertificates(Command, frozen=True, tag="list-certificates"):
    """The CA certificates. Public. recommended: without those that were revoked, and roots whose key was stopped."""

    roles = PUBLIC
    recommended: bool = False


class ListKeys(Command, frozen=True, tag="list-keys"):
    """Every key: label, role, state, algorithm, name (SPKI digest) and public half where it is published."""

    roles = STAFF | LOCAL


class ShowProof(Command, frozen=True, tag="show-proof"):
    """Entry and tlog-proof of a document by its digest. Public: a proof tells nothing about other entries."""

    roles = PUBLIC
    digest: Hex32


class ReadTile(Command, frozen=True, tag="read-tile"):
    """A tile or checkpoint by its path. Entry tiles name serials and sites: auditors only; the reading is an entry."""

    roles = frozenset({"auditor"})
    path: Annotated[str, Meta(max_length=128)]


class ExportJournal(Command, frozen=True, tag="export-journal"):
    """The next files of an export, from `cursor` until it is empty; only what came after `since` with `root`."""

    roles = frozenset({"auditor"}) | LOCAL
    size: Index = 0
    cursor: Annotated[str, Meta(max_length=200)] = ""
    since: Index = 0
    root: Annotated[str, Meta(pattern="^([0-9a-f]{64})?\\Z")] = ""


class ExportParty(Command, frozen=True, tag="export-party"):
    """The next part of one party's export: key (label, spki), device (serial), work order, site (plant) or change."""

    roles = frozenset({"auditor"}) | LOCAL
    kind: Literal["key", "device", "work-order", "site", "change"]
    name: Annotated[str, Meta(min_length=1, max_length=256)]
    size: Index = 0
    cursor: Annotated[str, Meta(max_length=200)] = ""


class SummarizeJournal(Command, frozen=True, tag="summarize-journal"):
    """Counts of the entries by type, kind and key (JCS), with the entry that records its digest, and the proof."""

    roles = frozenset({"auditor"}) | LOCAL


class ListEvents(Command, frozen=True, tag="list-events"):
    """Journal entries from an index on as events, for monitoring. They name serials: auditors only."""

    roles = frozenset({"auditor"}) | LOCAL
    start: Index = 0
    limit: Annotated[int, Meta(ge=1, le=500)] = 100


class ShowHealth(Command, frozen=True, tag="show-health"):
    """Whether the keyroom can use keys, and what is wrong where it can not."""

    roles = PUBLIC
