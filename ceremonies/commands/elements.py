"""Keys that live in hardware: manifests of secure elements, and keys of TPMs."""

from typing import Annotated

from msgspec import Meta

from ceremonies.commands.command import STAFF, Command, Hex32, Name

ELEMENTS_LIMIT = 1000
Certificate = Annotated[bytes, Meta(max_length=1 << 14)]


class CheckManifest(Command, frozen=True, tag="check-manifest"):
    """What an import of the uploaded manifest would do: nothing is done, every bad entry is named."""

    roles = frozenset({"officer"})
    file: Hex32


class ListElements(Command, frozen=True, tag="list-elements"):
    """Keys that live in hardware, by name, those after `after`."""

    roles = STAFF
    after: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")] = ""
    limit: Annotated[int, Meta(ge=1, le=ELEMENTS_LIMIT)] = ELEMENTS_LIMIT


class ChallengeTpm(Command, frozen=True, tag="challenge-tpm"):
    """A credential for a TPM: by the certificate of its endorsement key (PEM or DER) with those above it, and the
    public area (TPM2B_PUBLIC) of the key that shall be certified.
    """

    roles = frozenset({"station"})
    work_order: Name
    serial: Name
    endorsement: Certificate
    area: Annotated[bytes, Meta(max_length=1024)]
    chain: Annotated[tuple[Certificate, ...], Meta(max_length=4)] = ()


class ActivateTpm(Command, frozen=True, tag="activate-tpm"):
    """The secret that the TPM gave back: its key may have certificates from here on. One answer for each challenge."""

    roles = frozenset({"station"})
    work_order: Name
    serial: Name
    challenge: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
    secret: Annotated[bytes, Meta(max_length=64)]
