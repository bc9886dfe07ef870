"""HTTP/1.1 for `kedge serve` that knows whom TLS has let in: uvicorn does not hand the certificate on."""

import asyncio
import ssl
from typing import cast

from api.cli.patience import TimedProtocol
from api.peers import SCOPE, Peer


class PeerProtocol(TimedProtocol):
    """Puts the connection's own address and certificate into the scope of each request, beside what proxies say."""

    _peer = Peer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS, if there is any, is established: the certificate is verified, or there is none."""
        super().connection_made(transport)
        secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        certificate = secured.getpeercert(binary_form=True) if secured is not None else None
        self._peer = Peer(self.client[0] if self.client else "", certificate or b"")

    def on_message_begin(self) -> None:
        """A request of this connection."""
        super().on_message_begin()
        cast(dict[str, object], self.scope)[SCOPE] = self._peer  # servers may add to the scope
