"""HTTP/1.1 by httptools, in a few bytes of ours: what uvicorn's own leaves open.

It reads four requests in the time that h11 needs for one, but drops the body of a request that offers `Upgrade: h2c`,
as Java's HttpClient does (uvicorn#2722), and sets no bound to a head.
"""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Bytes of a request line and headers (trailers too), and bytes without anything that could be handed on.
MOST_HEAD = 64 * 1024


class Protocol(HttpToolsProtocol):
    """A connection. No other protocol is spoken here, so an offer of one is a header like any other (RFC 9110, 7.8)."""

    _head = 0  # bytes of this message's head so far
    _silent = 0  # bytes since the parser told anything

    def data_received(self, data: bytes) -> None:
        """A piece of the stream; what can't be read is answered with 400, and ends the connection."""
        self._unset_keepalive_if_required()
        self._silent += len(data)
        try:
            self._feed(data)
            if self._silent > MOST_HEAD:
                raise httptools.HttpParserError("a line without an end")
        except httptools.HttpParserError:
            self.send_400_response(f"No HTTP/1.1 request, or more than {MOST_HEAD:,} bytes of headers.")

    def _feed(self, data: bytes) -> None:
        rest = memoryview(data)
        while True:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as offer:
                # The parser stops behind the head, for what follows might be of the other protocol. It isn't: the same
                # head is read again without the offer, by a new parser, and the stream goes on where that stopped.
                head = self._head_without_offer()
                rest = rest[offer.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
                self.parser.feed_data(head)

    def _head_without_offer(self) -> bytes:
        line = b" ".join([self.parser.get_method(), self.url, b"HTTP/" + self.parser.get_http_version().encode()])
        headers = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([line, *headers, b"", b""])

    # httptools' callbacks.

    def on_message_begin(self) -> None:
        self._told()
        self._head = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(": ") + len(value) + len("\r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._told()
        if not self.parser.should_upgrade():
            super().on_headers_complete()
        elif self.parser.get_method() == b"CONNECT":
            raise ValueError("CONNECT is for proxies")

    def on_body(self, body: bytes) -> None:
        self._told()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._told()
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _told(self) -> None:
        self._silent = 0

    def _count(self, size: int) -> None:
        self._told()
        self._head += size
        if self._head > MOST_HEAD:
            raise ValueError(f"a head of more than {MOST_HEAD:,} bytes")
