"""How a run of `kedge station issue`, `confirm` or `resume` ends. A line's software looks at the exit status first."""

import enum
from typing import Final

from api.cli.errors import AWAY, DONE, REFUSED, USAGE, CliError


class Exit(enum.IntEnum):
    """Exit statuses, the same in every version; docs/factory.md and `kedge station --help` list them."""

    DONE = DONE
    FAILED = REFUSED
    USAGE = USAGE
    QUEUED = AWAY
    REFUSED = 5
    QUARANTINE = 6
    NOT_AUTHORISED = 7
    SUSPENDED = 8
    LOGBOOK = 9


MEANING: Final = {
    Exit.DONE: "everything is done",
    Exit.FAILED: "failed: a file, an address, an answer that cannot be; requests wait",
    Exit.USAGE: "wrong usage",
    Exit.QUEUED: "the service is away; requests wait: kedge station resume",
    Exit.REFUSED: "some units were refused, the others are done",
    Exit.QUARANTINE: "a unit must be put aside: cloned key, wrong signature, scrapped",
    Exit.NOT_AUTHORISED: "the station is not let in: certificate, token, network; requests wait",
    Exit.SUSPENDED: "the station is suspended or revoked; requests wait",
    Exit.LOGBOOK: "the logbook is in use, broken or full",
}
HELP: Final = "\b\nExit statuses:\n" + "\n".join(f"  {int(status)}  {meaning}" for status, meaning in MEANING.items())

QUARANTINE: Final = frozenset(
    {
        "answer-mismatch", "certificate-replaced", "confirmation-invalid", "element-taken", "key-known",
        "known-test-key", "unit-scrapped",
    }
)  # fmt: skip
"""Refusals after which a unit must not go on."""
SUSPENDED: Final = frozenset({"station-revoked", "station-suspended"})
BARRED: Final = frozenset({"address-refused", "role-refused"})
"""Refusals of the station itself, beside those without a valid credential (401)."""


class UnitsQueued(CliError):
    """The service does not answer; what was not done waits in the logbook."""

    code = "units-queued"
    status = Exit.QUEUED


class UnitsRefused(CliError):
    """Some units were refused; the others are done."""

    code = "units-refused"
    status = Exit.REFUSED


class UnitsQuarantined(CliError):
    """Some units must be put aside."""

    code = "units-quarantined"
    status = Exit.QUARANTINE


class StationNotAuthorised(CliError):
    """The service does not let this station in."""

    code = "station-not-authorised"
    status = Exit.NOT_AUTHORISED


class StationStopped(CliError):
    """The station is suspended or revoked."""

    code = "station-stopped"
    status = Exit.SUSPENDED


class ServiceStrange(CliError):
    """What answers is not the service, or not as it should."""

    code = "service-strange"


def judge_refusal(status: int, code: str, message: str) -> CliError | None:
    """Why nothing more may be sent; None when the refusal is of the request alone."""
    said = f"{code}: {message}"
    if code in SUSPENDED:
        return StationStopped(said, hint="call the supervisor; then `kedge station resume`")
    if status == 401 or code in BARRED:
        return StationNotAuthorised(said, hint="`kedge station certify`, or a new token; then `kedge station resume`")
    if code in ("method-not-allowed", "request-refused", "route-unknown") or code.startswith("http-"):
        return ServiceStrange(said, hint="does --url name the API of Kedge?")
    return None
