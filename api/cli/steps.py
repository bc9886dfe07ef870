"""An exported ceremony step: a file that an officer can read and sign without the service."""

import hashlib
from typing import Any, Final

import msgspec

from api.cli.drafts import ShownDraft, read_drafts
from api.cli.errors import StepFileInconsistent
from ceremonies.approvals import ApprovalTemplate, parse_template
from ceremonies.errors import RosterMalformed
from ceremonies.officers import Roster, parse_roster
from ceremonies.words import spell_digest
from pki.drafts import Draft
from pki.errors import PkiError
from pki.jcs import parse_json

LIMIT: Final = 16 << 20
CHALLENGE: Final = 4


class StepFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step as `kedge ceremony export` writes it: the exact bytes, in base64. `roster` is the one in force."""

    ceremony: str
    action: str
    step: str
    template: bytes
    shown: bytes
    roster: bytes = b""


class Step:
    """A step whose parts fit together. Everything here is computed from the bytes, nothing is taken on trust."""

    def __init__(self, file: StepFile) -> None:
        """Raises StepFileInconsistent when the statement to be signed is not about what is shown, ApprovalMalformed."""
        self.template: ApprovalTemplate = parse_template(file.template)
        self.shown = file.shown
        self._roster = file.roster
        self.digest = Draft(f"ceremony.{file.step}", "", file.shown, (), {}, {}, lambda _: b"").digest
        claimed = (file.ceremony, file.action, file.step)
        stated = (self.template.ceremony, self.template.action, self.template.step)
        if claimed != stated:
            raise StepFileInconsistent(f"the file says {claimed}, its statement {stated}", hint="fetch the step again")
        if self.template.draft != self.digest:
            raise StepFileInconsistent(
                f"the statement approves {self.template.draft}, what is shown has {self.digest}",
                hint="do not sign; fetch the step again, and ask who changed it",
            )

    @property
    def words(self) -> tuple[str, ...]:
        """The digest as PGP words."""
        return spell_digest(bytes.fromhex(self.digest))

    @property
    def challenge(self) -> tuple[str, ...]:
        """The words that an officer types before signing: the last of the digest."""
        return self.words[-CHALLENGE:]

    @property
    def content(self) -> dict[str, Any]:
        """What is shown, parsed strictly. Raises StepFileInconsistent."""
        try:
            value = parse_json(self.shown, LIMIT)
        except PkiError as error:
            raise StepFileInconsistent(f"what is shown is not strict JSON: {error}") from error
        if not isinstance(value, dict):
            raise StepFileInconsistent("what is shown is no JSON object")
        return value

    @property
    def drafts(self) -> list[ShownDraft]:
        """The drafts among what is shown, each checked. Raises StepFileInconsistent."""
        drafts = read_drafts(self.content)
        signers = sorted({key for draft in drafts for key, _ in draft.statement["sign"]})
        if signers != list(self.template.signers):
            raise StepFileInconsistent("the statement names other signing keys than the drafts", hint="do not sign")
        return drafts

    @property
    def roster(self) -> Roster:
        """The roster that the statement names. Raises StepFileInconsistent.

        A genesis plan proposes it; every other step comes with the one in force. Either counts only when it has the
        digest that the officer is about to sign.
        """
        plan = self.content.get("content")
        try:
            if self.template.action == "genesis" and isinstance(plan, dict):
                roster = msgspec.convert(plan.get("roster"), Roster)
            else:
                roster = parse_roster(self._roster)
        except (msgspec.ValidationError, RosterMalformed) as error:
            raise StepFileInconsistent(f"no roster came with the step: {error}", hint="export it again") from error
        if roster.digest != self.template.params.get("roster_sha256"):
            raise StepFileInconsistent(
                "the roster that came with the step is not the one that its statement names", hint="export it again"
            )
        return roster

    @property
    def facts(self) -> dict[str, str]:
        """The statement's fields, as a person reads them."""
        template = self.template
        return {
            "ceremony": template.ceremony,
            "action": template.action,
            "step": template.step,
            "summary": template.summary,
            "change request": template.chg or "none",
            "quorum": f"{template.m} of {template.n}",
            "counts until": template.not_after.isoformat(),
            "policy": template.policy_sha256,
            "roster": str(template.params.get("roster_sha256", "none")),
            "software": template.software_sha256,
            "journal": f"{template.log_checkpoint.size} entries, root {template.log_checkpoint.root}",
            "shown, SHA-256": hashlib.sha256(self.shown).hexdigest(),
            "digest": self.digest,
        }


def parse_step(data: bytes) -> Step:
    """Read an exported step. Raises StepFileInconsistent, ApprovalMalformed."""
    try:
        return Step(msgspec.convert(parse_json(data, LIMIT), StepFile))
    except (msgspec.ValidationError, PkiError) as error:
        raise StepFileInconsistent(f"not an exported step: {error}", hint="use `kedge ceremony export`") from error
