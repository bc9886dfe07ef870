"""What officers approved, verified anew each time it is used. A row in a table is no approval."""

import datetime
from typing import Any

import msgspec

from ceremonies.approvals import Approval, ApprovalTemplate, QuorumRule, count_quorum, parse_template, verify_approval
from ceremonies.errors import KeyroomError, QuorumNotMet
from ceremonies.officers import Roster
from ceremonies.orders import StepRef
from ceremonies.plans import read_shown
from ceremonies.policy import Policy
from ceremonies.store import Row, Store
from ceremonies.tables import ApprovalRow, CeremonyRow, StepRow
from pki.drafts import Draft


class CeremonyUnknown(KeyroomError):
    """There is no such ceremony, or it has no such step."""

    code = "ceremony-unknown"


class CeremonyOver(KeyroomError):
    """The ceremony is closed or aborted; its approvals are void."""

    code = "ceremony-over"


class NotListed(KeyroomError):
    """What is asked is not among the things that the officers approved in this step."""

    code = "not-listed"


class StepOutdated(KeyroomError):
    """The step was approved under another policy or other software. Its approvals are void."""

    code = "step-outdated"


class Governing(msgspec.Struct, frozen=True):
    """The roster and the policy in force. `genesis` is the id of the genesis ceremony while that is under way."""

    roster: Roster
    policy: Policy
    genesis: str | None = None

    def rule_for(self, kind: str, ceremony: str) -> QuorumRule:
        """The quorum for a kind of draft or act. At genesis it is everyone: nobody vouches for an absent officer."""
        if self.genesis is not None and ceremony == self.genesis:
            everyone = len(self.roster.with_roles(("officer",)))
            return QuorumRule(kind=kind, m=everyone, n=everyone, roles=("officer",))
        return self.policy.rule_for(kind, self.roster)


class Mandate(msgspec.Struct, frozen=True):
    """A step that may be executed: what it covers, the approvals counted (`apr` of a leaf), who proposed it."""

    ceremony: str
    action: str
    chg: str
    shown: dict[str, Any]
    counted: tuple[dict[str, Any], ...]
    proposer: str = ""


def shown_draft(kind: str, shown: bytes) -> Draft:
    """The draft without signatures whose digest officers approve: a plan, or the list of results."""
    return Draft(kind, f"approve {kind}", shown, (), {}, {}, lambda _: shown)


def demand_mandate(
    store: Store, governing: Governing, at: tuple[StepRef, str], now: datetime.datetime, software: str
) -> Mandate:
    """Check that a step is approved for `at` = (step, kind of draft or act).

    1. The ceremony is open. 2. The template is about this step, this policy, this roster, this software and exactly
    what is shown.
    3. Each stored approval is rebuilt and verified; what does not verify counts as none. 4. The quorum is counted.
    Raises CeremonyUnknown, CeremonyOver, StepOutdated, QuorumNotMet.
    """
    step, kind = at
    ceremony, row = load_step(store, step)
    if ceremony["state"] in ("closed", "aborted"):  # 1
        raise CeremonyOver(f"ceremony {step.ceremony} is {ceremony['state']}", hint="propose a new one")
    template = parse_template(row["template"])
    check_template(template, ceremony, row)  # 2
    found = (template.policy_sha256, template.params.get("roster_sha256"), template.software_sha256)
    if found != (governing.policy.digest, governing.roster.digest, software):
        raise StepOutdated(
            f"step {step.step} of {step.ceremony} was opened under another policy, another roster or other software"
        )
    rows = {
        item["officer"]: item for item in store.list(ApprovalRow, "officer", ceremony=step.ceremony, step=step.step)
    }
    approvals = verified_approvals(template, rows, governing.roster)  # 3
    proposer = read_proposer(template)
    result = count_quorum(governing.rule_for(kind, step.ceremony), approvals, proposer, now)  # 4
    if not result.met:
        raise QuorumNotMet(
            f"step {step.step} of {step.ceremony}, {kind}: {result.shortfall}",
            hint="have the missing officers approve the step",
            details={"have": list(result.have), "missing": result.missing, "rejected_by": list(result.rejected_by)},
        )
    counted = tuple(
        {"h": rows[officer]["hash"], "i": rows[officer]["seq"], "officer": officer} for officer in result.have
    )
    shown = read_shown(row["shown"])
    return Mandate(step.ceremony, template.action, template.chg, shown, counted, proposer)


def read_proposer(template: ApprovalTemplate) -> str:
    """The proposing officer's id, bound by every signature on the step; empty at genesis, which nobody proposes."""
    return str(template.params.get("proposer", ""))


def load_step(store: Store, step: StepRef) -> tuple[Row, Row]:
    """The rows of a ceremony and one step. Raises CeremonyUnknown."""
    ceremony = store.find(CeremonyRow, id=step.ceremony)
    row = store.find(StepRow, ceremony=step.ceremony, step=step.step)
    if ceremony is None or row is None:
        raise CeremonyUnknown(f"no step {step.step} in a ceremony {step.ceremony}", hint="list the ceremonies")
    return ceremony, row


def check_template(template: ApprovalTemplate, ceremony: Row, row: Row) -> None:
    """Raises StepOutdated unless the template is about this step and what the step shows."""
    shown = shown_draft(f"ceremony.{row['step']}", row["shown"])
    wanted = (ceremony["id"], row["step"], ceremony["action"], ceremony["chg"], shown.digest, ceremony["proposer"])
    found = (template.ceremony, template.step, template.action, template.chg, template.draft, read_proposer(template))
    if found != wanted:
        raise StepOutdated(
            f"the approval template of step {row['step']} does not belong to it", hint="the database was changed"
        )


def verified_approvals(template: ApprovalTemplate, rows: dict[str, Row], roster: Roster) -> list[Approval]:
    """The approvals of a step that verify. One that does not is none, whoever wrote it into the table."""
    approvals = []
    for row in rows.values():
        try:
            approvals.append(verify_approval(template, row["statement"], row["signature"].decode(), roster))
        except (KeyroomError, UnicodeDecodeError):
            continue
    return approvals


def demand_listed(mandate: Mandate, draft: Draft) -> None:
    """Raises NotListed unless the officers saw and approved exactly this draft."""
    listed = {item.get("digest") for item in mandate.shown.get("drafts", [])}
    if draft.digest not in listed:
        raise NotListed(f"draft {draft.digest[:16]} ({draft.kind}) is not in the approved list of {mandate.ceremony}")
