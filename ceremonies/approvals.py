"""Approvals: the statement an officer signs, its verification, and the count of a quorum.

The keyroom rebuilds the statement from what it is about to do and compares bytes, so that nothing a caller or an API
says about an approval matters. A statement about anything else counts as none.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, NoReturn

import msgspec
from msgspec import Meta

from ceremonies.errors import (
    ApprovalMalformed,
    ApprovalMismatch,
    ApprovalUnsigned,
    OfficerUnknown,
    SshSignatureInvalid,
    SshSignatureMalformed,
)
from ceremonies.officers import NO_APPROVAL, Roster
from ceremonies.sshsig import SshSignature, verify_sshsig
from pki.jcs import JsonMalformed, jcs, parse_jcs

NAMESPACE: Final = "kedge-approval@v1"
MAX_STATEMENT: Final = 65_535

Hex32 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
Count = Annotated[int, Meta(ge=0, lt=1 << 53)]
Decision = Literal["approve", "reject"]
# What stood between the key and a program: nothing, a touch, or a touch and a PIN or fingerprint (FIDO2 UP, UV).
Assurance = Literal["software", "presence", "verification"]
_LEVELS: Final[tuple[Assurance, ...]] = ("software", "presence", "verification")


class LogCheckpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The journal as the officers saw it: tree size and root hash."""

    size: Count
    root: Hex32


class ApprovalTemplate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything of an approval statement but the officer and the decision.

    draft: digest of what is approved (a draft's, a plan's, a list of results').
    signers: SPKI digests of the keys that will sign, sorted. nonce: random, hex, new for every step.
    params: JSON facts of the action. not_after: the last moment at which the approval counts.
    chg: the customer's change-request id; left out of the bytes when empty.
    """

    action: Name
    ceremony: Name
    step: Name
    draft: Hex32
    signers: tuple[Hex32, ...]
    summary: Annotated[str, Meta(min_length=1, max_length=1024)]
    params: dict[str, Any]
    policy_sha256: Hex32
    software_sha256: Hex32
    log_checkpoint: LogCheckpoint
    m: Count
    n: Count
    not_after: Annotated[datetime, Meta(tz=True)]
    nonce: Annotated[str, Meta(pattern=r"^[0-9a-f]{32,128}\Z")]
    chg: Annotated[str, Meta(max_length=256)] = ""
    type: Literal["kedge/approval/v1"] = "kedge/approval/v1"

    def __post_init__(self) -> None:
        if list(self.signers) != sorted(set(self.signers)):
            raise ValueError("signers of an approval are not sorted, or one stands twice")

    @property
    def document(self) -> bytes:
        """The JCS bytes of the template: what the keyroom stores and an officer's tool fetches."""
        return jcs(self._fields())

    def _fields(self) -> dict[str, object]:
        fields: dict[str, object] = {name: getattr(self, name) for name in self.__struct_fields__}
        fields["log_checkpoint"] = {"size": self.log_checkpoint.size, "root": self.log_checkpoint.root}
        fields["not_after"] = self.not_after.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if not self.chg:
            del fields["chg"]
        return fields


class _Says(msgspec.Struct, frozen=True):
    """The two fields of a statement that the officer fills in."""

    officer: str
    decision: Decision


class Approval(msgspec.Struct, frozen=True):
    """A verified statement of one officer. Made by `verify_approval` only.

    roles: the officer's, from the roster at verification. key: the OpenSSH fingerprint of the signing key.
    sha256: of the statement's bytes.
    """

    officer: str
    decision: Decision
    roles: tuple[str, ...]
    assurance: Assurance
    not_after: datetime
    key: str
    sha256: str


class QuorumRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many of whom. Made by `Policy.rule_for`.

    m of the n persons who hold one of `roles`; each of `must_include` is held by one of them; keys of `assurance`.
    stop: break-glass, one officer suffices, also the proposer, and no rejection blocks.
    """

    kind: str
    m: int
    n: int
    roles: tuple[str, ...]
    must_include: tuple[str, ...] = ()
    assurance: Assurance = "software"
    stop: bool = False


class QuorumResult(msgspec.Struct, frozen=True):
    """What a count found. `ignored` says of each officer whose approval did not count why it did not."""

    rule: QuorumRule
    have: tuple[str, ...]
    missing: int
    missing_roles: tuple[str, ...]
    rejected_by: tuple[str, ...]
    ignored: tuple[tuple[str, str], ...]

    @property
    def met(self) -> bool:
        """Whether the act may go on."""
        return not (self.missing or self.missing_roles or self.rejected_by)

    @property
    def shortfall(self) -> str:
        """The sentence for a refusal; empty when the quorum is met."""
        parts = []
        if self.rejected_by:
            parts.append(f"rejected by {', '.join(self.rejected_by)}")
        if self.missing:
            parts.append(f"{len(self.have)} of {self.rule.m} approvals, {self.missing} missing")
        if self.missing_roles:
            parts.append(f"nobody approved as {', '.join(self.missing_roles)}")
        return "; ".join(parts)


def parse_template(document: bytes) -> ApprovalTemplate:
    """Parse the bytes of `ApprovalTemplate.document`. Raises ApprovalMalformed."""
    try:
        template = msgspec.convert(parse_jcs(document, MAX_STATEMENT), ApprovalTemplate)
    except (JsonMalformed, msgspec.ValidationError) as error:
        raise ApprovalMalformed(f"approval template does not parse: {error}") from error
    if template.document != document:
        raise ApprovalMalformed("approval template is not in its one encoding")
    return template


def statement_bytes(template: ApprovalTemplate, officer: str, decision: Decision) -> bytes:
    """The JCS bytes that the officer signs with `ssh-keygen -Y sign -n kedge-approval@v1`."""
    return jcs({**template._fields(), "officer": officer, "decision": decision})


def verify_approval(expected: ApprovalTemplate, statement: bytes, armoured: str, roster: Roster) -> Approval:
    """Verify one officer's signed statement against what the keyroom is about to do.

    1. The statement is canonical JSON. 2. Rebuilt from `expected` it has the same bytes. 3. Its signature verifies
    in the namespace. 4. The key is the named officer's. Raises ApprovalMalformed (1, 3), ApprovalMismatch (2) with
    the differing fields, ApprovalUnsigned (3, 4). Expiry is judged by `count_quorum`, which knows the time.
    """
    fields, says = _read_statement(statement)  # 1
    # 2
    if statement_bytes(expected, says.officer, says.decision) != statement:
        _refuse_mismatch(expected, msgspec.convert(fields, dict[str, Any]))
    # 3 and 4
    signature = _verify_signature(statement, armoured)
    try:
        officer = roster.owner(signature.key)
    except OfficerUnknown as error:
        raise ApprovalUnsigned(error.message, hint="sign with a key of the roster") from error
    if officer.id != says.officer:
        raise ApprovalUnsigned(f"approval names {says.officer[:40]!r}, its key is {officer.id}'s")
    return Approval(
        officer=officer.id,
        decision=says.decision,
        roles=officer.roles,
        assurance=_assurance_of(signature),
        not_after=expected.not_after,
        key=signature.key.fingerprint,
        sha256=hashlib.sha256(statement).hexdigest(),
    )


def count_quorum(rule: QuorumRule, approvals: Iterable[Approval], proposer: str, now: datetime) -> QuorumResult:
    """Count persons, not signatures.

    An expired approval is none; a rejection blocks, whoever else approves; the proposer (officer id) counts, but
    never alone. The verdict does not depend on order or on how often a statement stands in `approvals`.
    """
    current = [approval for approval in approvals if now <= approval.not_after]
    rejecting = {approval.officer for approval in current if approval.decision == "reject" and not rule.stop}
    judged = [(approval, _find_obstacle(rule, approval)) for approval in current]
    counted = [approval for approval, why in judged if not why and approval.officer not in rejecting]
    have = {approval.officer for approval in counted}
    missing = max(0, rule.m - len(have))
    if rule.m and not rule.stop and have <= {proposer}:
        missing = max(missing, 1)
    held = {role for approval in counted for role in approval.roles}
    return QuorumResult(
        rule=rule,
        have=tuple(sorted(have)),
        missing=missing,
        missing_roles=tuple(role for role in rule.must_include if role not in held),
        rejected_by=tuple(sorted(rejecting)),
        ignored=tuple(sorted({(item.officer, why) for item, why in judged if why and item.officer not in have})),
    )


def read_decision(statement: bytes) -> Decision:
    """What the officer of a statement decided, whatever it is about. Raises ApprovalMalformed."""
    return _read_statement(statement)[1].decision


def _read_statement(statement: bytes) -> tuple[object, _Says]:
    """A statement's JSON, and what the officer filled in. Raises ApprovalMalformed unless it is canonical JSON."""
    try:
        fields = parse_jcs(statement, MAX_STATEMENT)
        return fields, msgspec.convert(fields, _Says)
    except (JsonMalformed, msgspec.ValidationError) as error:
        raise ApprovalMalformed(f"approval statement does not parse: {error}") from error


def _find_obstacle(rule: QuorumRule, approval: Approval) -> str:
    """Why an approval does not count, empty when it does."""
    if approval.decision == "reject":
        return "rejects"
    if not set(approval.roles) & (set(rule.roles) - NO_APPROVAL):
        return f"holds none of the roles {', '.join(rule.roles)}"
    if _LEVELS.index(approval.assurance) < _LEVELS.index(rule.assurance):
        return f"key gives {approval.assurance}, {rule.assurance} is required"
    return ""


def _assurance_of(signature: SshSignature) -> Assurance:
    if not signature.user_present:
        return "software"
    return "verification" if signature.user_verified else "presence"


def _refuse_mismatch(expected: ApprovalTemplate, fields: dict[str, Any]) -> NoReturn:
    wanted = expected._fields()
    found = {name: value for name, value in fields.items() if name not in ("officer", "decision")}
    differing = sorted(
        name
        for name in wanted.keys() | found.keys()
        if name not in wanted or name not in found or jcs(wanted[name]) != jcs(found[name])
    )
    raise ApprovalMismatch(
        f"approval is about something else: {', '.join(differing)[:200]}",
        hint="fetch the step again, look at it, sign its statement",
        details={"fields": differing},
    )


def _verify_signature(statement: bytes, armoured: str) -> SshSignature:
    try:
        return verify_sshsig(armoured, statement, NAMESPACE)
    except SshSignatureMalformed as error:
        raise ApprovalMalformed(f"approval signature: {error.message}", hint=error.hint) from error
    except SshSignatureInvalid as error:
        raise ApprovalUnsigned(f"approval signature: {error.message}", hint=error.hint) from error
