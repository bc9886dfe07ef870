"""What the command line itself refuses, and the exit statuses."""

from typing import ClassVar, Final

DONE: Final = 0
REFUSED: Final = 1  # refused, failed, or did not verify
USAGE: Final = 2  # Typer's own
CONSISTENT: Final = 3  # `kedge verify` without --trust: consistent, not authenticated
AWAY: Final = 4  # a service does not answer; the same command may be repeated


class CliError(Exception):
    """What happened, and what to do next."""

    code: str = "cli-error"
    status: ClassVar[int] = REFUSED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ServiceRefused(CliError):
    """The service answered with a problem; `code` is the service's."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class ServiceAway(CliError):
    """The service does not answer, or says that it cannot work now."""

    code = "service-away"
    status = AWAY


class ItemsRefused(CliError):
    """Some items of a batch were refused; the others were done."""

    code = "items-refused"


class ConnectionMissing(CliError):
    """The command was not told whom to ask."""

    code = "connection-missing"


class TokenUnreadable(CliError):
    """The token file is missing, empty, or too large."""

    code = "token-unreadable"


class TokenInTheClear(CliError):
    """A token would travel over plain HTTP to another machine."""

    code = "token-in-the-clear"


class FileRefused(CliError):
    """A file is not what the command needs, or is in the way."""

    code = "file-refused"


class StepFileInconsistent(CliError):
    """An exported step contradicts itself: what is shown is not what would be signed."""

    code = "step-file-inconsistent"


class WordsDiffer(CliError):
    """The words that were typed are not those of the digest."""

    code = "words-differ"


class KeyNotInRoster(CliError):
    """The key that would sign, or has signed, is not the officer's in the step's roster."""

    code = "key-not-in-roster"


class SigningFailed(CliError):
    """ssh-keygen did not sign."""

    code = "signing-failed"


class ProductionRefused(CliError):
    """A development tool was pointed at production settings."""

    code = "production-refused"


class PortTaken(CliError):
    """Another process listens where the API should."""

    code = "port-taken"


class ChildrenFailed(CliError):
    """A process that `kedge up` started keeps ending."""

    code = "children-failed"


class DoctorMisled(CliError):
    """`kedge doctor` was told half of what a token's examination needs."""

    code = "doctor-misled"
    status = USAGE


class ProofMismatch(CliError):
    """A journal entry is not about the file that it came with."""

    code = "proof-mismatch"
