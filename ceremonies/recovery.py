"""After a crash: close what was left open, then check that tokens and journal agree.

Between intent and outcome a signature may exist, but none was released: the intent is closed as unknown, its names stay
spent. A generated key that has no outcome is destroyed by the CKA_ID that its intent names. A destruction that happened
gets its outcome; one that did not is closed as unknown.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from ceremonies import entries
from ceremonies.errors import KeyroomError
from ceremonies.journal import EntryDraft, Placed
from ceremonies.keyring import Keyring
from ceremonies.ledger import Ledger
from ceremonies.orders import Actor
from ceremonies.reckoning import check_counts, check_rows
from ceremonies.store import Change, Update
from ceremonies.tables import KeyRow

RECOVERY = Actor(cred="", role="keyroom", src="", sub="recovery")
MAX_DIFFERENCES = 50
"""How many differences an entry names; it says how many there are."""
EXCUSED = ("suspended", "compromised", "deactivated")
"""States of a key that signs nothing, or nothing until a person decides; its object may differ at a start."""


class KeyResurrected(KeyroomError):
    """A token holds the private half of a key that the journal calls destroyed: it was restored from a copy."""

    code = "key-resurrected"


class KeyMissing(KeyroomError):
    """A key that the journal calls alive is not on its token."""

    code = "key-missing"


class InventoryDiffers(KeyroomError):
    """An object with the id of one of our keys is not as that key was made, or lies in another token."""

    code = "inventory-differs"


class Stock(Protocol):
    """What an entry says of a token."""

    @property
    def model(self) -> str:
        """What kind of token it is."""

    @property
    def serial(self) -> str:
        """Its serial number."""

    @property
    def objects(self) -> Sequence[object]:
        """All that it holds."""


class Difference(Protocol):
    """One object of a token that is not as registered; see `hsm.inventory`."""

    @property
    def kind(self) -> str:
        """`unknown`, `missing`, `altered` or `not-cloned`."""

    @property
    def token(self) -> str:
        """The label of the token."""

    @property
    def id(self) -> bytes:
        """The CKA_ID."""

    @property
    def label(self) -> str:
        """The label of the key, or what the object calls itself."""

    @property
    def reason(self) -> str:
        """What differs, in words."""


class Shelf(Protocol):
    """What lies in tokens."""

    def exists(self, token: str, key_id: bytes) -> bool:
        """Whether the private key is there."""


class Tokens(Shelf, Protocol):
    """What recovery needs of the strongbox."""

    def destroy(self, token: str, key_id: bytes) -> bool:
        """Destroy it; whether there was something to destroy."""


def close_open_intents(ledger: Ledger, keyring: Keyring, tokens: Tokens) -> int:
    """At start: compare the rows with the journal, then close every open intent; how many there were.

    Raises JournalForked. Only afterwards may a key be used.
    """
    check_rows(ledger.store, ledger.replay, keyring)
    if ledger.began is None:  # else while the keyroom runs, like the entries before the milestone (`ceremonies.upkeep`)
        check_counts(ledger.store, ledger.replay)
    return settle_intents(ledger, keyring, tokens)


def settle_intents(ledger: Ledger, keyring: Keyring, tokens: Tokens) -> int:
    """Close every open intent; how many there were. A crash on the way leaves them open, for the next start."""
    drafts: list[EntryDraft] = []
    changes: list[Change] = []
    for intent, entry in ledger.replay.opened.values():
        draft, follows = _close(intent, entry, tokens)
        drafts.append(draft)
        changes += follows
    if drafts:
        ledger.commit(lambda _: drafts, lambda _: (changes, ()), settles=True)
    for change in changes:
        if isinstance(change, Update):
            key = keyring.get(change.key["spki"])
            keyring.put(msgspec.structs.replace(key, state="destroyed"))
    ledger.settled = True
    return len(drafts)


def _close(intent: Placed, leaf: Mapping[str, Any], tokens: Tokens) -> tuple[EntryDraft, list[Change]]:
    operation = leaf["type"].removesuffix(".intent")
    fields = {name: leaf[name] for name in ("actor", "req", "cer", "chg") if name in leaf}
    fields["keys"] = [{name: value for name, value in key.items() if name != "kctr"} for key in leaf["keys"]]
    if operation == "key.generate":
        tokens.destroy(leaf["op"]["what"]["token"], bytes.fromhex(leaf["keys"][0]["id"]))
    if operation == "key.destroy" and not _stands(leaf, tokens):
        out = {"rv": "CKR_OK", "status": "ok", "why": "found done after a restart"}
        draft = {"type": "key.destroy.outcome", "ref": intent.ref, "op": leaf["op"], "out": out, **fields}
        return draft, [Update(KeyRow, {"spki": leaf["keys"][0]["spki"]}, {"state": "destroyed"})]
    return entries.unknown(intent, operation, fields), []


def _stands(leaf: Mapping[str, Any], tokens: Tokens) -> bool:
    return tokens.exists(leaf["op"]["what"]["token"], bytes.fromhex(leaf["keys"][0]["id"]))


def check_keys(keyring: Keyring, tokens: Shelf) -> None:
    """Compare the journal's view of every key with the tokens. Raises KeyResurrected, KeyMissing.

    A key that is stopped already may be missing: a person knows, and it signs nothing.
    """
    for key in keyring:
        there = tokens.exists(key.token, bytes.fromhex(key.cka_id))
        if key.state == "destroyed" and there:
            raise KeyResurrected(
                f"token {key.token} holds key {key.label}, which was destroyed",
                hint="the token was restored from an old copy; destroy the key there before the keyroom starts",
            )
        if key.state not in ("destroyed", *EXCUSED) and not there:
            raise KeyMissing(
                f"token {key.token} lacks key {key.label}", hint="restore the token, or give the right one"
            )


def inventory_facts(found: Sequence[Stock], differences: Sequence[Difference]) -> dict[str, Any]:
    """What an entry says of the tokens; of differences not more than it can hold, in printable ASCII."""
    facts: dict[str, Any] = {
        "tokens": [{"model": item.model, "objects": len(item.objects), "serial": item.serial} for item in found]
    }
    if differences:
        facts["different"] = len(differences)
        facts["differences"] = [
            {
                "id": item.id.hex()[:64],
                "kind": item.kind,
                "label": make_printable(item.label),
                "reason": make_printable(item.reason),
                "token": item.token,
            }
            for item in differences[:MAX_DIFFERENCES]
        ]
    return facts


def make_printable(text: str) -> str:
    """Text that somebody put into a token, safe for an entry: printable ASCII, at most 120 characters."""
    return "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in text[:120])


def check_differences(differences: Sequence[Difference], ours: Collection[bytes]) -> None:
    """A foreign object is an alarm; one with the CKA_ID of a key of ours stops the start. Raises InventoryDiffers."""
    for item in differences:
        if item.id in ours:
            raise InventoryDiffers(
                f"token {item.token}, key {make_printable(item.label)}: {make_printable(item.reason)}",
                hint="somebody wrote to the token: stop, investigate, restore it",
            )
