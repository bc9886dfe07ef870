"""Tokens: how they are configured, and how a new one is initialised."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from hsm.errors import RequestInvalid, TokenExists, TokenNotFound
from hsm.module import Module, translate
from hsm.objects import handle_of
from hsm.pins import PinSource

_SECURITY_OFFICER: Final = 0  # CKU_SO
_LABEL_BYTES: Final = 32


class TokenSettings(msgspec.Struct, frozen=True):
    """A token that the strongbox opens: its label, where its PIN comes from, and the roles that the settings place
    there. The strongbox gives roles no meaning. `serial` tells tokens of one label apart; any, when it is empty.
    """

    label: str
    pin: PinSource
    roles: tuple[str, ...] = ()
    serial: str = ""

    @property
    def name(self) -> str:
        """What the strongbox calls it: the label, and the serial where that is given."""
        return f"{self.label}@{self.serial}" if self.serial else self.label


def initialise_token(module: Path, label: str, so_pin: PinSource, pin: PinSource) -> None:
    """Make a token with this label in a free slot, with the PINs of its security officer and its user.

    Not to be called while a strongbox is open in this process. Raises TokenExists when a token has the label: an
    existing token is never touched. A crash between the two PKCS#11 calls leaves a token without a user PIN, which
    the next try refuses as existing.
    """
    check_label(label)
    loaded = Module(module)
    try:
        _refuse_existing(loaded, label)
        about = f"token {label}"
        with so_pin.reveal() as officer, pin.reveal() as user:
            loaded.initialise_token(loaded.find_free_slot(), label, officer)
            with translate("C_OpenSession", about):
                session = loaded.find_token(label).open(rw=True)
            loaded.login(handle_of(session), officer, about=about, user=_SECURITY_OFFICER)
            loaded.initialise_pin(handle_of(session), user, about)
    finally:
        loaded.finalise()


def check_label(label: str) -> None:
    """Raises RequestInvalid unless the label fits CK_TOKEN_INFO: 1 to 32 bytes, no blanks at its ends."""
    if not 0 < len(label.encode()) <= _LABEL_BYTES or label != label.strip() or not label.isprintable():
        raise RequestInvalid(f"token label {label!r} does not fit", hint=f"use 1 to {_LABEL_BYTES} printable bytes")


def check_tokens(tokens: Sequence[TokenSettings]) -> None:
    """Raises RequestInvalid unless there are tokens, each with a name of its own and a label that fits."""
    for settings in tokens:
        check_label(settings.label)
    names = [settings.name for settings in tokens]
    if not names or len(set(names)) != len(names):
        raise RequestInvalid(f"token labels {names} are empty or repeated", hint="name each token once in the settings")


def _refuse_existing(module: Module, label: str) -> None:
    try:
        token = module.find_token(label)
    except TokenNotFound:
        return
    serial = token.serial.decode("ascii", "replace")
    raise TokenExists(f"token {label} exists, serial {serial}", hint="open it, or choose another label")
