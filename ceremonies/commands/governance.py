"""Ceremonies, and stopping a key."""

from typing import Annotated

from msgspec import Meta

from ceremonies.commands.command import LOCAL, STAFF, Command, Document, Name, Text


class OpenCeremony(Command, frozen=True, tag="open-ceremony"):
    """Propose a ceremony: `action` names the kind, `plan` is its JSON content (frozen from here on)."""

    roles = frozenset({"officer"})
    id: Name
    action: Name
    plan: Document
    chg: Text = ""


class OpenGenesis(Command, frozen=True, tag="open-genesis"):
    """Propose the genesis ceremony on an empty journal. Local only."""

    roles = LOCAL
    id: Name
    plan: Document
    chg: Text = ""


class ListCeremonies(Command, frozen=True, tag="list-ceremonies"):
    """All ceremonies, newest first."""

    roles = STAFF | LOCAL


class ShowCeremony(Command, frozen=True, tag="show-ceremony"):
    """One ceremony with its plan and steps: the bytes that officers approve."""

    roles = STAFF | LOCAL
    id: Name


class DecideStep(Command, frozen=True, tag="decide-step"):
    """An officer's signed statement on a step (approve or reject): JCS bytes and an armored SSH signature over them."""

    roles = frozenset({"officer"}) | LOCAL
    urgent = True
    id: Name
    step: Name
    statement: Annotated[bytes, Meta(max_length=1 << 16)]
    signature: Annotated[bytes, Meta(max_length=1 << 14)]


class ExecuteStep(Command, frozen=True, tag="execute-step"):
    """Do what an approved step says. The door verifies every approval again."""

    roles = frozenset({"officer"}) | LOCAL
    id: Name
    step: Name


class SuspendKey(Command, frozen=True, tag="suspend-key"):
    """Stop a key at once. One officer suffices: stopping is always possible, starting never (break-glass)."""

    roles = frozenset({"officer"})
    urgent = True
    label: Name
    reason: Text
