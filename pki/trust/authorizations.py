"""Install authorisations: a site lets its devices install one manifest (docs/trust.cddl, `install-authz`)."""

import enum
from collections.abc import Sequence

import msgspec

from pki.drafts import Draft
from pki.trust.authority import Point, check_fleet, check_signers, open_sign
from pki.trust.drafts import draft_sign
from pki.trust.keys import CoseKey
from pki.trust.payloads import Payload
from pki.trust.sets import RoleId, TrustSet
from pki.trust.shapes import (
    HASH,
    SECONDS,
    UUID,
    Field,
    choice,
    distinct,
    octets,
    or_true,
    record,
    text,
    uint,
)
from pki.trust.targets import UEID


class Channel(enum.IntEnum):
    """The road by which an installation comes."""

    GATEWAY = 1
    EMS = 2
    SERVICE_LAPTOP = 3
    USB_MEDIUM = 4


class Window(msgspec.Struct, frozen=True):
    """From `begin` to `end`, seconds since 1970, both included."""

    begin: int
    end: int


class InstallAuthorization(Payload, frozen=True):
    """Site roots allow the manifest whose payload has SHA-256 `manifest_sha256`.

    devices: ueids, None means all of the site. change_request, person: free text, the person a pseudonym.
    nonce: the device's own, which makes it good once.
    """

    NAME = "install-authz"

    site: bytes
    manifest_sha256: bytes
    authorization_id: bytes
    devices: tuple[bytes, ...] | None
    sequence: int
    window: Window | None = None
    change_request: str | None = None
    person: str | None = None
    channel: Channel | None = None
    nonce: bytes | None = None


_WINDOW = record(Window, {1: Field("begin", SECONDS), 2: Field("end", SECONDS)})
InstallAuthorization.shape = record(
    InstallAuthorization,
    {
        2: Field("site", UUID),
        3: Field("manifest_sha256", HASH),
        4: Field("authorization_id", UUID),
        5: Field("devices", or_true(distinct(UEID))),
        6: Field("sequence", uint()),
        7: Field("window", _WINDOW, None),
        8: Field("change_request", text(256), None),
        9: Field("person", text(256), None),
        10: Field("channel", choice(Channel), None),
        11: Field("nonce", octets(8, 64), None),
    },
    marks={1: 1},
)


def verify_install_authorization(site_set: TrustSet, message: bytes) -> InstallAuthorization:
    """An authorisation by the roots of a site's own trust set, whose `fleet` is the site (device rules C.3).

    Raises a TrustError or CborInvalid leaf.
    """
    authorization, signed = open_sign(InstallAuthorization, message)
    check_fleet(site_set, authorization.site)
    check_signers(site_set, RoleId.OEM_ROOT, signed, [Point()])
    return authorization


def draft_install_authorization(
    site_set: TrustSet, authorization: InstallAuthorization, signers: Sequence[CoseKey]
) -> Draft:
    """A draft of an install authorisation, verified as a device will before it leaves."""
    manifest = authorization.manifest_sha256.hex()
    devices = "all devices" if authorization.devices is None else f"{len(authorization.devices)} devices"
    return draft_sign(
        authorization,
        signers,
        summary=f"Install authorisation {authorization.sequence}: manifest {manifest[:16]}, {devices} of the site",
        what={
            "site": authorization.site.hex(),
            "sequence": authorization.sequence,
            "manifest": manifest,
            "hash": authorization.payload_sha256.hex(),
        },
        check=lambda message: verify_install_authorization(site_set, message),
    )
