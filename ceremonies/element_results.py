"""What the keyroom answers about keys that live in hardware. Exported by `ceremonies.commands`."""

from msgspec import Struct


class RefusedElement(Struct, frozen=True):
    """An entry of a manifest (the first is 1; 0: the file) that cannot be imported, and why."""

    entry: int
    why: str


class ManifestChecked(Struct, frozen=True, tag="manifest-checked"):
    """How many elements of each part number the file has; its bad entries, the first of `bad_count`."""

    parts: dict[str, int]
    bad: tuple[RefusedElement, ...]
    bad_count: int


class ElementShown(Struct, frozen=True):
    """A key that lives in hardware: its name, where, the element's id or the TPM's endorsement key, of which device;
    the entry that says so.
    """

    key: str
    kind: str
    ident: str
    serial: str
    index: int


class ElementsListed(Struct, frozen=True, tag="elements-listed"):
    """Keys by name; ask again with `following` as `after` until it is empty."""

    elements: tuple[ElementShown, ...]
    following: str


class TpmChallenged(Struct, frozen=True, tag="tpm-challenged"):
    """A credential: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET. key: the name of the key that it is for."""

    challenge: str
    blob: bytes
    seed: bytes
    key: str
    expires: int


class TpmActivated(Struct, frozen=True, tag="tpm-activated"):
    """The key lives in this TPM; `index` is the entry that says so."""

    serial: str
    key: str
    ident: str
    index: int
    replayed: bool
