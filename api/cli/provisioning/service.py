"""One batch to the service, and what it says of each request: done, refused, or not now. Then it is asked again."""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from api.cli.device import Device, Results
from api.cli.errors import CliError, ServiceAway
from api.cli.provisioning.answers import Confirmed
from api.cli.provisioning.exits import ServiceStrange, judge_refusal
from api.cli.provisioning.records import Queued

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 8.0
LONGEST_RETRY: Final = 60.0
"""However long the service asks to wait: it may be back before."""
LATER: Final = frozenset({408, 425, 429})
UNTRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"
"""What OpenSSL says when the service's certificate is not one of the authorities'."""
FORM: Final = frozenset({400, 413, 415, 422})
"""A batch is refused as a whole when the form of one of its items is wrong."""


class Said(msgspec.Struct, frozen=True):
    """A problem of the service; other members are not needed here."""

    code: str
    detail: str
    hint: str = ""
    status: int = 400


class Later(msgspec.Struct, frozen=True):
    """Not now; seconds: after which to ask again, 0 when it did not say. alone: others of its batch are done."""

    said: str
    seconds: float = 0.0
    alone: bool = False


Verdict = Device | Confirmed | Said | Later


class Answering(Protocol):
    """What sends a request over HTTP (`api.cli.session.Session`)."""

    def send(self, method: str, path: str, *, also: Sequence[int] = (), **arguments: Any) -> Any:
        """One request; `also`: statuses that are an answer, too."""


class Service:
    """The API as a station asks it. `pause` waits for so many seconds."""

    def __init__(self, session: Answering, pause: Callable[[float], None] = time.sleep) -> None:
        self._session = session
        self._pause = pause

    def ask(self, batch: Sequence[Queued]) -> list[Verdict]:
        """A verdict for each request; all are of one order and one act. Raises what forbids to go on."""
        verdicts = self._send(batch)
        if isinstance(verdicts, Later):
            return [verdicts] * len(batch)
        if not isinstance(verdicts, Said):
            return verdicts
        if verdicts.status in FORM and len(batch) > 1:
            half = len(batch) // 2
            return [*self.ask(batch[:half]), *self.ask(batch[half:])]
        return [verdicts] * len(batch)

    def insist(self, batch: Sequence[Queued], patience: float) -> list[Verdict]:
        """As `ask`, but what is to be asked later is asked again for so many seconds."""
        until, pause = time.monotonic() + patience, FIRST_PAUSE
        verdicts = self.ask(batch)
        while late := [at for at, verdict in enumerate(verdicts) if isinstance(verdict, Later)]:
            wanted = max(verdict.seconds for verdict in verdicts if isinstance(verdict, Later)) or pause
            wanted = min(wanted, LONGEST_RETRY) + secrets.randbelow(500) / 1000  # not all stations at once
            if time.monotonic() + wanted > until:
                break
            self._pause(wanted)
            pause = min(2 * pause, LONGEST_PAUSE)
            for at, verdict in zip(late, self.ask([batch[at] for at in late]), strict=True):
                verdicts[at] = verdict
        return verdicts

    def _send(self, batch: Sequence[Queued]) -> list[Verdict] | Said | Later:
        path, body = write_batch(batch)
        headers = {"Content-Type": "application/json"}
        try:
            answer = self._session.send("POST", path, also=range(300, 600), content=body, headers=headers)
        except ServiceAway as error:
            if UNTRUSTED in error.message:
                raise ServiceStrange(error.message, hint="does --ca name the authorities of the service?") from error
            return Later(error.message)
        if answer.is_success:
            return read_verdicts(batch, answer.content)
        said = read_problem(answer.content, answer.status_code)
        if answer.status_code >= 500 or answer.status_code in LATER:
            return Later(f"{said.code}: {said.detail}", read_seconds(answer.headers.get("Retry-After", "")))
        forbidden = judge_refusal(answer.status_code, said.code, said.detail)
        if forbidden is not None:
            raise forbidden
        return said


def write_batch(batch: Sequence[Queued]) -> tuple[str, bytes]:
    """The path and the body of a batch."""
    first = batch[0]
    if first.act == "issue":
        body: dict[str, Any] = {"requests": [{"serial": item.serial, "csr": item.csr} for item in batch]}
        return f"/v1/work-orders/{first.order}/devices", msgspec.json.encode(body)
    units = [{"serial": item.serial, "chain_sha256": item.chain_sha256, "signature": item.signature} for item in batch]
    return f"/v1/work-orders/{first.order}/confirmations", msgspec.json.encode({"confirmations": units})


def read_verdicts(batch: Sequence[Queued], content: bytes) -> list[Verdict]:
    """The verdicts of an answer. Raises ServiceStrange, and what forbids to go on."""
    try:
        results = msgspec.json.decode(content, type=Results).results
        verdicts = [read_verdict(request, raw) for request, raw in zip(batch, results, strict=True)]
    except (msgspec.MsgspecError, ValueError) as error:
        raise ServiceStrange(
            f"the service did not answer as expected: {error}", hint="is it of this version?"
        ) from error
    return verdicts


def read_verdict(request: Queued, raw: msgspec.Raw) -> Verdict:
    """One verdict: a problem has a `code`."""
    if "code" not in msgspec.json.decode(raw, type=dict):
        kind: Any = Device if request.act == "issue" else Confirmed
        verdict: Device | Confirmed = msgspec.json.decode(raw, type=kind)
        return verdict
    said = msgspec.json.decode(raw, type=Said)
    if said.status >= 500 or said.status in LATER:
        return Later(f"{said.code}: {said.detail}", alone=True)
    return said


def find_forbidden(verdicts: Sequence[Verdict]) -> CliError | None:
    """Why nothing more may be sent, when one of the verdicts says so."""
    refusals = (judge_refusal(item.status, item.code, item.detail) for item in verdicts if isinstance(item, Said))
    return next((refusal for refusal in refusals if refusal is not None), None)


def read_problem(content: bytes, status: int) -> Said:
    """A problem (RFC 9457); what is none, a proxy's page for example, gets a code by its status."""
    try:
        said = msgspec.json.decode(content, type=Said)
    except msgspec.MsgspecError:
        return Said(f"http-{status}", f"the answer was {status}, and none of Kedge's", status=status)
    return msgspec.structs.replace(said, status=status)


def read_seconds(text: str) -> float:
    """Retry-After (RFC 9110 section 10.2.3) in seconds; 0 for a date, and for what is neither."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0.0
