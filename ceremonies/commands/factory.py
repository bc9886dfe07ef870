"""Device certificates inside work orders."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ceremonies.commands.command import Command, Csr, Name

BATCH_LIMIT = 1000
Form = Literal["", "crmf"]
"""What a request is: PKCS #10, or a CertReqMsg (RFC 4211)."""


class IssueDevice(Command, frozen=True, tag="issue-device"):
    """A device certificate for `serial` inside a work order; `csr` is PKCS#10, PEM or DER. Idempotent."""

    roles = frozenset({"station"})
    work_order: Name
    serial: Name
    csr: Csr
    form: Form = ""


class EnrolDevice(Command, frozen=True, tag="enrol-device"):
    """As IssueDevice, for protocols that name a CA (`authority`, a label) and not the work order (RFC 7030).

    A device itself gets an LDevID so, from a CA of the site where it is installed.
    """

    roles = IssueDevice.roles | {"device"}
    authority: Name
    serial: Name
    csr: Csr
    form: Form = ""


class DeviceRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """One item of a batch."""

    serial: Name
    csr: Csr


class IssueDevices(Command, frozen=True, tag="issue-devices"):
    """A batch inside one work order: each item is done as an IssueDevice of its own, and answered in order."""

    roles = IssueDevice.roles
    work_order: Name
    items: Annotated[tuple[DeviceRequest, ...], Meta(min_length=1, max_length=BATCH_LIMIT)]
