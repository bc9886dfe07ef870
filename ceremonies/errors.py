"""The root of every error that the keyroom raises; the leaves live beside the code that raises them, or here."""

from collections.abc import Mapping
from typing import ClassVar


class KeyroomError(Exception):
    """What happened, to what, and what to do next.

    `code` is the stable, kebab-case name that travels to callers (RFC 9457 `type`).
    `details` are facts for a program: JSON values, no secrets.
    """

    code: ClassVar[str] = "keyroom-error"

    def __init__(self, message: str, *, hint: str = "", details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: Mapping[str, object] = dict(details or {})


class SshSignatureMalformed(KeyroomError):
    """Bytes are not the strict SSHSIG, or the OpenSSH public key, that they claim to be."""

    code = "ssh-signature-malformed"


class SshSignatureInvalid(KeyroomError):
    """An SSHSIG does not verify: wrong key, message, namespace, or no touch of the security key."""

    code = "ssh-signature-invalid"


class RosterMalformed(KeyroomError):
    """A roster document is not one that Kedge accepts."""

    code = "roster-malformed"


class OfficerUnknown(KeyroomError):
    """No officer of the roster has this id or this key."""

    code = "officer-unknown"


class ApprovalRefused(KeyroomError):
    """A statement that counts as no approval: catch this one, record it, go on."""

    code = "approval-refused"


class ApprovalMalformed(ApprovalRefused):
    """The statement or its signature does not parse."""

    code = "approval-malformed"


class ApprovalMismatch(ApprovalRefused):
    """The statement is about something else. `details["fields"]` names the fields that differ."""

    code = "approval-mismatch"


class ApprovalUnsigned(ApprovalRefused):
    """The signature over the statement is not the named officer's."""

    code = "approval-unsigned"


class QuorumNotMet(KeyroomError):
    """Too few officers approved, or one rejected."""

    code = "quorum-not-met"


class PolicyMalformed(KeyroomError):
    """A policy document is not one that Kedge accepts."""

    code = "policy-malformed"


class PolicyRefuses(KeyroomError):
    """The policy does not name what was asked for. Empty means no."""

    code = "policy-refuses"


class TokenRefused(KeyroomError):
    """A workload token is not accepted; the leaves, one per rule, live in `ceremonies.tokens`."""

    code = "token-refused"


class BindingMismatch(KeyroomError):
    """A valid token is bound to another plant, class, channel or station than the request."""

    code = "binding-mismatch"


class JwkMalformed(KeyroomError):
    """A JSON Web Key, or a set of them, is not usable for verifying tokens."""

    code = "jwk-malformed"


class JwksUnavailable(KeyroomError):
    """The issuer's keys could not be fetched, or are too old to be used."""

    code = "jwks-unavailable"


class DeviceUnknown(KeyroomError):
    """No certificate was issued for this serial, or not in this work order."""

    code = "device-unknown"
