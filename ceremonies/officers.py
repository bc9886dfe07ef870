"""The roster: who the officers are, with which keys, in which roles. One person counts once, however many keys."""

import hashlib
import re
from functools import cached_property
from typing import Final, Literal

import msgspec

from ceremonies.errors import OfficerUnknown, RosterMalformed, SshSignatureMalformed
from ceremonies.sshsig import SshKey, parse_public_key
from pki.jcs import JsonMalformed, jcs, parse_jcs

MAX_ROSTER: Final = 65_535
MAX_OFFICERS: Final = 64
MAX_KEYS: Final = 8

# Roles that may approve nothing, so that whoever records or audits a ceremony has no part in its decisions.
NO_APPROVAL: Final = frozenset({"witness", "auditor"})

_ID = re.compile(r"[a-z][a-z0-9-]{0,31}")


class Officer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One person.

    id: stable and never given to somebody else; it stands in approvals and in the journal.
    name: a pseudonym (personal names stay out of signed documents).
    keys: OpenSSH public keys, `algorithm base64` without a comment.
    roles: `officer`, `administrator`, `witness`, `auditor`, `share-holder` or a customer's own kebab-case names.
    """

    id: str
    name: str
    keys: tuple[str, ...]
    roles: tuple[str, ...]

    def ssh_keys(self) -> tuple[SshKey, ...]:
        """The keys, parsed. Raises SshSignatureMalformed."""
        return tuple(parse_public_key(line) for line in self.keys)


class Roster(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """The roster document, `kedge/roster/v1`; JCS JSON, signed by a ceremony. Officers are sorted by id."""

    officers: tuple[Officer, ...]
    type: Literal["kedge/roster/v1"] = "kedge/roster/v1"
    v: Literal[1] = 1

    def __post_init__(self) -> None:
        _check_roster(self)

    @cached_property
    def document(self) -> bytes:
        """The canonical bytes that are signed and recorded."""
        return jcs(msgspec.to_builtins(self))

    @cached_property
    def digest(self) -> str:
        """Lowercase hex SHA-256 of the document; it stands in the keyroom's settings as well."""
        return hashlib.sha256(self.document).hexdigest()

    @cached_property
    def _by_key(self) -> dict[SshKey, Officer]:
        return {key: officer for officer in self.officers for key in officer.ssh_keys()}

    def officer(self, officer_id: str) -> Officer:
        """The officer with this id. Raises OfficerUnknown."""
        for officer in self.officers:
            if officer.id == officer_id:
                return officer
        raise OfficerUnknown(f"no officer {officer_id[:40]!r} in the roster")

    def owner(self, key: SshKey) -> Officer:
        """The one officer who has this key. Raises OfficerUnknown."""
        officer = self._by_key.get(key)
        if officer is None:
            raise OfficerUnknown(f"key {key.fingerprint} belongs to no officer of the roster")
        return officer

    def with_roles(self, roles: tuple[str, ...]) -> tuple[Officer, ...]:
        """The persons who hold at least one of these roles."""
        return tuple(officer for officer in self.officers if set(officer.roles) & set(roles))

    def allowed_signers(self, namespace: str) -> str:
        """The file that `ssh-keygen -Y verify -f` reads: every officer's keys, valid for one namespace."""
        lines = (f'{o.id} namespaces="{namespace}" {key}\n' for o in self.officers for key in o.keys)
        return "".join(lines)


def parse_roster(document: bytes) -> Roster:
    """Parse the canonical bytes of a roster. Raises RosterMalformed."""
    try:
        value = parse_jcs(document, MAX_ROSTER)
        roster = msgspec.convert(value, Roster)
    except (JsonMalformed, msgspec.ValidationError) as error:
        raise RosterMalformed(f"roster does not parse: {error}", hint="write it with `Roster.document`") from error
    if roster.document != document:
        raise RosterMalformed("roster leaves out type or v")
    return roster


def _check_roster(roster: Roster) -> None:
    ids = [officer.id for officer in roster.officers]
    names = [officer.name for officer in roster.officers]
    if not 1 <= len(ids) <= MAX_OFFICERS:
        raise RosterMalformed(f"roster has {len(ids)} officers, 1 to {MAX_OFFICERS} are allowed")
    if ids != sorted(set(ids)):
        raise RosterMalformed("officers are not sorted by id, or an id stands twice")
    if len(set(names)) != len(names):
        raise RosterMalformed("a name stands twice in the roster", hint="one person is one officer with all their keys")
    seen: dict[SshKey, str] = {}
    for officer in roster.officers:
        for key in _check_officer(officer):
            if key in seen:
                raise RosterMalformed(f"key {key.fingerprint} of {officer.id} is a key of {seen[key]} already")
            seen[key] = officer.id


def _check_officer(officer: Officer) -> tuple[SshKey, ...]:
    if not _ID.fullmatch(officer.id) or not 1 <= len(officer.name) <= 64 or not officer.name.isprintable():
        raise RosterMalformed(f"officer {officer.id[:40]!r} has no valid id or name")
    if not officer.roles or not all(_ID.fullmatch(role) for role in officer.roles):
        raise RosterMalformed(f"officer {officer.id} has no role, or one that is not kebab-case")
    if list(officer.roles) != sorted(set(officer.roles)):
        raise RosterMalformed(f"roles of officer {officer.id} are not sorted, or one stands twice")
    if "officer" in officer.roles and NO_APPROVAL & set(officer.roles):
        raise RosterMalformed(f"{officer.id} cannot be officer and {' or '.join(sorted(NO_APPROVAL))}")
    if not 1 <= len(officer.keys) <= MAX_KEYS:
        raise RosterMalformed(f"officer {officer.id} has {len(officer.keys)} keys, 1 to {MAX_KEYS} are allowed")
    try:
        keys = officer.ssh_keys()
    except SshSignatureMalformed as error:
        raise RosterMalformed(f"key of officer {officer.id}: {error.message}") from error
    if tuple(key.line for key in keys) != officer.keys:
        raise RosterMalformed(f"a key of officer {officer.id} has a comment", hint="leave `algorithm base64`")
    return keys
