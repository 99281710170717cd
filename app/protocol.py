"""HTTP/1.1 by httptools, and by h11 where that can't: requests that offer an upgrade, and heads without an end.

httptools is twice as fast, and drops the body of a request that offers `Upgrade: h2c`, as Java's HttpClient does
(uvicorn#2722), and bounds no header. So a head is looked at before either parser has it.
"""

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

END = b"\r\n\r\n"
OFFER = b"\r\nupgrade:"
# Bytes of a request line and headers; above that h11, whose limit it is too, refuses with 400.
MOST_HEAD = 64 * 1024


class Protocol(HttpToolsProtocol):
    """A connection. Once it was handed to h11 it stays there."""

    def connection_made(self, transport) -> None:  # type: ignore[no-untyped-def]  # two libraries type it differently
        """Nothing has come yet."""
        self._between = True
        self._head = b""
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Hand on what belongs to a message that has begun; of a new one no byte before its head is whole."""
        if not self._between:
            super().data_received(data)
            return
        data = self._head + data
        end = data.find(END)
        if end < 0 and len(data) <= MOST_HEAD:
            self._head = data
            return
        self._head = b""
        if end < 0 or end > MOST_HEAD or OFFER in data[:end].lower():
            self._hand_to_h11(data)
        else:
            super().data_received(data)

    def on_message_begin(self) -> None:
        """httptools' callback."""
        self._between = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """httptools' callback."""
        self._between = True
        super().on_message_complete()

    def _hand_to_h11(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        other = H11Protocol(config=self.config, server_state=self.server_state, app_state=self.app_state)
        other.connection_made(self.transport)
        self.transport.set_protocol(other)
        other.data_received(data)
