"""Errors of the API, and the one table from an error's `code` to an HTTP status (problem+json, RFC 9457)."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import Scope

from ceremonies.client import KeyroomDown, Refused
from ceremonies.commands import Problem
from pki.errors import PkiError

PROBLEM_JSON: Final = "application/problem+json"
# RFC 4151: a name that nobody has to serve. Programs should look at `code`.
TYPE: Final = "tag:kedge.example,2026:problem/"
RETRY_AFTER: Final = "5"


class ApiError(Exception):
    """Something the API itself refuses, before or instead of asking the keyroom."""

    code: ClassVar[str] = "api-error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class TokenMissing(ApiError):
    """The request carries no usable bearer token."""

    code = "token-missing"


class ClientCertificateMalformed(ApiError):
    """The proxy's header with the client's certificate cannot be read."""

    code = "client-certificate-malformed"


class BodyTooLarge(ApiError):
    """The request body is over the limit of its route."""

    code = "body-too-large"


class BodyTooSlow(ApiError):
    """The request body did not arrive in time."""

    code = "body-too-slow"


class BodyMissing(ApiError):
    """The request body is empty."""

    code = "body-missing"


class MediaTypeUnsupported(ApiError):
    """The request body has another media type than the route takes."""

    code = "media-type-unsupported"


class RequestUnreadable(ApiError):
    """A certification request is not in the form of its protocol."""

    code = "request-unreadable"


class HeadersTooLarge(ApiError):
    """The request has too many headers."""

    code = "headers-too-large"


class FieldsInvalid(ApiError):
    """A field is missing, unknown, or outside its limits."""

    code = "fields-invalid"


class RouteUnknown(ApiError):
    """Nothing is at this URL."""

    code = "route-unknown"


class MethodNotAllowed(ApiError):
    """The URL exists, the method does not."""

    code = "method-not-allowed"


class NothingThere(ApiError):
    """What was asked for does not exist, or not yet."""

    code = "nothing-there"


class RequestRefused(ApiError):
    """The web framework refused the request."""

    code = "request-refused"


class InternalError(ApiError):
    """The API failed."""

    code = "internal-error"


# 503 says: repeat the same request later; nothing was done, or recovery will close it. 500: a person must look.
_BY_STATUS: Final[dict[int, str]] = {
    202: "enrolment-pending",
    400: """
        approval-malformed approval-refused body-missing cbor-invalid cbor-key-duplicate cbor-not-deterministic
        cbor-text-invalid cbor-too-large cbor-trailing cbor-truncated cbor-type-forbidden
        client-certificate-malformed cose-invalid cose-key-invalid der-malformed export-refused frame-invalid
        json-malformed message-malformed message-unsupported name-malformed
        payload-invalid pem-malformed plan-malformed proof-of-possession-failed request-malformed
        request-refused request-unreadable ssh-signature-malformed status-request-malformed submission-invalid
        type-mismatch upload-refused""",
    401: """
        client-certificate-expired client-certificate-unknown device-revoked station-revoked token-algorithm-refused
        token-audience-wrong token-expired token-header-refused token-issuer-unknown
        token-key-unknown token-malformed token-missing token-not-yet-valid token-refused token-replayed
        token-sender-wrong token-signature-invalid token-too-old""",
    403: """
        address-refused approval-unsigned binding-mismatch device-out-of-service key-purpose-refused message-forged
        message-unprotected not-listed officer-unknown peer-refused policy-refuses quorum-not-met recovery-refused
        report-refused role-refused serial-not-in-order site-mismatch ssh-signature-invalid station-key-wrong
        station-suspended token-grant-missing unit-unconfirmed""",
    404: """
        authority-unknown baseline-unknown box-unknown ceremony-unknown certificate-unknown device-unknown
        document-unknown key-unknown no-trust-set nothing-there release-unknown route-unknown station-unknown
        tile-absent tpm-challenge-unknown work-order-unknown""",
    405: "method-not-allowed",
    408: "body-too-slow",
    409: """
        already-decided approval-mismatch artefact-missing authority-not-issuing authority-unavailable box-forked
        ceremony-exists ceremony-over certificate-replaced certificate-withdrawn chain-mismatch element-taken
        enrolment-under-way floor-refused gate-closed genesis-refused grant-exhausted grant-missing grant-over
        grant-refused hsm-key-exists import-refused journal-key-needed key-known key-not-active key-transition-refused
        key-used label-taken message-replayed nothing-locked number-taken overlap-refused place-refused
        quota-exhausted request-mismatch request-open revocation-refused rework-exhausted sequence-stale serial-taken
        settlement-refused state-refused step-done step-outdated switch-refused unit-scrapped version-taken
        work-order-ambiguous work-order-closed""",
    413: "body-too-large image-too-large request-too-large",
    415: "media-type-unsupported",
    422: """
        action-unknown audit-failed authorization-missing bank-pinned bootloader-mismatch certificate-number-refused
        certificate-revoked chain-invalid checkpoint-invalid class-unknown cmp-error condition-unmet
        confirmation-invalid consistency-invalid cosignature-missing counter-unreachable crl-expired crl-invalid
        crl-out-of-scope crl-outdated crl-refused dependency-unmet device-refusal element-error element-path-refused
        endorsement-refused fallback-missing fallback-not-needed fields-invalid fleet-mismatch floor-from-exceeded
        floor-not-met format-error identity-mismatch image-already-signed image-denied image-digest-mismatch
        image-fact-conflict image-fact-missing image-flag-refused image-key-refused image-malformed
        image-not-confirmed image-signature-invalid image-signature-unknown image-tlv-refused inclusion-invalid
        issuer-refused key-refused key-unprotected key-unsupported known-test-key limit-exceeded lint-failed log-error
        manifest-image-mismatch manifest-refused message-unexpected message-untimely nonce-mismatch note-invalid
        note-unsigned origin-unknown policy-malformed possession-unproven profile-forbids profile-unknown
        proof-invalid reason-unknown receipt-refused recovery-changed rehearsal-failed release-refused role-undefined
        roster-malformed self-test-failed set-chain-detached set-index-refused set-malformed set-outranked
        set-previous-mismatch set-ref-mismatch signature-invalid slot-empty slots-unready soak-unmet stamp-invalid
        subject-refused summary-wrong target-mismatch threshold-not-met tile-invalid tpm-activation-failed
        tpm-area-refused trust-error trust-policy-invalid trust-set-missing validity-refused
        verifier-key-invalid witnesses-missing write-failed x509-error""",
    429: "device-too-fast station-too-fast",
    431: "headers-too-large",
    500: """
        assembly-failed checkpoint-rejected cursor-malformed frontier-invalid hsm-call-failed hsm-call-refused
        hsm-foreign-key hsm-key-altered hsm-key-ambiguous hsm-key-not-found hsm-memo-invalid hsm-module-in-use
        hsm-module-unloadable hsm-no-free-slot hsm-pin-file-unsafe hsm-pin-incorrect hsm-pin-unreadable
        hsm-public-key-differs hsm-request-invalid hsm-signature-mismatch hsm-software-refused
        hsm-token-ambiguous hsm-token-exists hsm-wrong-process hsm-wrong-thread internal-error inventory-differs
        journal-forked key-missing key-resurrected leaf-invalid node-invalid refused settings-invalid
        signature-missing stage-stale store-unsafe tls-misconfigured unsafe-production witness-contradicts
        witness-misconfigured""",
    503: """
        anchor-unwritten clock-behind clock-went-back crl-unsigned
        door-closed hsm-circuit-open hsm-closed hsm-ended hsm-pin-locked
        hsm-token-not-found hsm-token-replaced hsm-token-unavailable jwk-malformed jwks-unavailable keyroom-busy
        keyroom-down keyroom-locked keyroom-stopping log-key-missing reader-ended responder-missing sink-failed
        stamp-failed store-locked store-lost store-unavailable witness-failed witnesses-behind""",
}
STATUS: Final[Mapping[str, int]] = {code: status for status, codes in _BY_STATUS.items() for code in codes.split()}


class ProblemOut(BaseModel):
    """RFC 9457 problem details. `code` is stable; `hint` says what to do next; `details` are facts for a program."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(examples=[TYPE + "quorum-not-met"])
    title: str = Field(examples=["Quorum not met"])
    status: int = Field(examples=[409])
    detail: str = Field(examples=["1 of 2 approvals, 1 missing"])
    instance: str = Field(examples=["/v1/ceremonies/rotation-1/steps/results/execution"])
    code: str = Field(examples=["quorum-not-met"])
    hint: str = Field(examples=["ask another officer to approve"])
    request: str = Field(examples=["5c1-3f2a-00000007"])
    details: dict[str, Any] = {}


def describe_problem(scope: Scope, path: str, problem: Problem) -> ProblemOut:
    """A problem as callers see it; `path` is what was refused. A code that the table lacks is told without its text."""
    if problem.code not in STATUS:
        problem = Problem(InternalError.code, "the service failed", "tell the operator the request's number")
    return ProblemOut(
        type=TYPE + problem.code,
        title=problem.code.replace("-", " ").capitalize(),
        status=STATUS[problem.code],
        detail=problem.message,
        instance=path,
        code=problem.code,
        hint=problem.hint,
        request=scope.get("request_id", ""),
        details=problem.details,
    )


def problem_response(
    request: Request, code: str, message: str, hint: str = "", details: Mapping[str, Any] | None = None
) -> JSONResponse:
    """The answer for an error. A code that the table lacks is answered as 500 without its text."""
    problem = describe_problem(request.scope, request.url.path, Problem(code, message, hint, dict(details or {})))
    request.scope["problem"] = problem.code
    headers = {}
    if problem.status == 401:
        reason = "" if code == TokenMissing.code else ', error="invalid_token"'
        headers["WWW-Authenticate"] = f'Bearer realm="kedge"{reason}'
    if problem.status in (202, 429, 503):
        headers["Retry-After"] = str(problem.details.get("retry_after", RETRY_AFTER))
    return JSONResponse(problem.model_dump(mode="json"), problem.status, headers, PROBLEM_JSON)


async def answer_refused(request: Request, error: Refused) -> JSONResponse:
    """For `Refused`: the keyroom's own problem."""
    problem = error.problem
    return problem_response(request, problem.code, problem.message, problem.hint, problem.details)


async def answer_error(request: Request, error: ApiError | PkiError | KeyroomDown) -> JSONResponse:
    """For errors that carry `code`, `message` and `hint`."""
    if isinstance(error, KeyroomDown):  # its text names paths of this machine
        return problem_response(request, error.code, "the keyroom does not answer", "send the same request again")
    return problem_response(request, error.code, error.message, error.hint)


async def answer_fields(request: Request, error: RequestValidationError) -> JSONResponse:
    """For pydantic's findings: where and what, never the caller's values."""
    findings = [{"field": ".".join(map(str, found["loc"])), "why": found["msg"]} for found in error.errors()[:20]]
    message = "; ".join(f"{found['field']}: {found['why']}" for found in findings[:3])
    return problem_response(request, FieldsInvalid.code, message, "see /openapi.json", {"fields": findings})


async def answer_http(request: Request, error: HTTPException) -> JSONResponse:
    """For what Starlette raises itself: unknown URL, method not allowed."""
    found = {404: RouteUnknown, 405: MethodNotAllowed, 413: BodyTooLarge}.get(error.status_code, RequestRefused)
    response = problem_response(request, found.code, str(error.detail).lower(), "see /openapi.json")
    response.headers.update({name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"})
    return response


HANDLERS: Final[Mapping[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]]] = {
    Refused: answer_refused,
    KeyroomDown: answer_error,
    ApiError: answer_error,
    PkiError: answer_error,
    RequestValidationError: answer_fields,
    HTTPException: answer_http,
}
PROBLEM_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    status: {
        "description": description,
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, description in {
        400: "Malformed.",
        401: "No token, or a token that is not accepted.",
        403: "The token's role or binding does not cover this.",
        404: "Nothing there.",
        409: "In conflict with what is recorded.",
        413: "Body over the limit.",
        422: "Refused by a rule, or a field outside its limits.",
        503: "The keyroom, its store or its keys are away; see Retry-After.",
    }.items()
}
