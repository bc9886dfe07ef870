"""What every command is: a frozen, tagged Struct that says who may ask. And the types of their fields."""

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*\\Z")]
Text = Annotated[str, Meta(max_length=256)]
RequestId = Annotated[str, Meta(min_length=8, max_length=80, pattern="^[A-Za-z0-9][A-Za-z0-9._:-]*\\Z")]
Document = Annotated[bytes, Meta(max_length=1 << 20)]
Index = Annotated[int, Meta(ge=0, lt=1 << 53)]
Csr = Annotated[bytes, Meta(max_length=1 << 17)]

PUBLIC: frozenset[str] = frozenset({"public"})
LOCAL: frozenset[str] = frozenset({"local"})
STAFF = frozenset({"officer", "auditor", "operator"})


class Command(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do"):
    """Something the keyroom can be asked. urgent: it goes first. signs: a public one that may have a key used; what is
    refused of it is gathered for the journal.
    """

    roles: ClassVar[frozenset[str]] = frozenset()
    urgent: ClassVar[bool] = False
    signs: ClassVar[bool] = False
