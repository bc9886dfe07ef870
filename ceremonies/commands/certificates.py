"""Certificates revoked, and what is known of one."""

from typing import Annotated

from msgspec import Meta

from ceremonies.commands.command import LOCAL, PUBLIC, STAFF, Command, Document, Text

Serial = Annotated[str, Meta(pattern="^([A-Z0-9][A-Z0-9.-]{0,63})?\\Z")]
Number = Annotated[str, Meta(pattern="^([0-9a-f]{1,40})?\\Z")]
Reason = Annotated[str, Meta(pattern="^[A-Za-z]{1,32}\\Z")]


class RevokeCertificate(Command, frozen=True, tag="revoke-certificate"):
    """Revoke one certificate that is no CA's, named by the device's serial or by its number, at once and for ever.

    One officer suffices. `reason` is a name of RFC 5280 section 5.3.1; `why` is for people. dry_run: only tell.
    """

    roles = frozenset({"officer"})
    urgent = True
    serial: Serial = ""
    number: Number = ""
    reason: Reason = "unspecified"
    why: Text = ""
    dry_run: bool = False


class PreviewRevocation(Command, frozen=True, tag="preview-revocation"):
    """What a ceremony `revoke` with this plan would revoke now. Nothing is opened; the asking is an entry."""

    roles = frozenset({"officer"})
    plan: Document


class ShowCertificate(Command, frozen=True, tag="show-certificate"):
    """What is known of a certificate by its device's serial or by its number."""

    roles = STAFF | LOCAL
    serial: Serial = ""
    number: Number = ""


class ListRevocations(Command, frozen=True, tag="list-revocations"):
    """The newest revocation list of each CA and partition. Public: everybody needs them."""

    roles = PUBLIC


class AskStatus(Command, frozen=True, tag="ask-status"):
    """An OCSP request (RFC 6960, DER). Public: everybody may ask."""

    roles = PUBLIC
    request: Annotated[bytes, Meta(max_length=1 << 11)]
