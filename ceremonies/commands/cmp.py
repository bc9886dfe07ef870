"""Messages of CMP."""

from typing import Annotated

from msgspec import Meta

from ceremonies.commands.command import PUBLIC, Command, Name


class TransactCmp(Command, frozen=True, tag="transact-cmp"):
    """A PKIMessage (RFC 9810, DER) to the CA with the label `authority`.

    Public: the message is signed by the key of a certificate that the keyroom issued, and says by that who asks. What
    it asks for is done as that caller's own command: same rules, same entries.
    """

    roles = PUBLIC
    signs = True
    authority: Name
    request: Annotated[bytes, Meta(max_length=1 << 15)]
