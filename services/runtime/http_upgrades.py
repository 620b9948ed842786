"""An HTTP/1.1 server that takes no notice of offers to change the protocol, as RFC 9110 (section 7.8) allows.

The parser of uvicorn ends a request at its head when the head offers an upgrade, and uvicorn drops the body: a POST of
the JDK's HttpClient, or of `curl --http2`, which offer `Upgrade: h2c` by default, arrived empty. Here the head is given
to a fresh parser without the offer, so that the request is read like any other. Other requests cost nothing.
"""

from __future__ import annotations

from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Belong to the offer, and would offer it again. Source: RFC 9110, section 7.8; RFC 7540, section 3.2.1.
_OF_THE_OFFER = frozenset({b"upgrade", b"http2-settings"})


class UpgradeIgnoringProtocol(HttpToolsProtocol):
    """What `uvicorn.Config(http=...)` takes; an upgrade to WebSockets is still made where the server has them."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._offer: bytes | None = None

    def on_headers_complete(self) -> None:
        """As uvicorn's, but for a head that offers an upgrade that is not taken: it is kept, to be read again."""
        if self.parser.should_upgrade() and not self._should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._offer = self._head_without_offer()
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """As uvicorn's; the end of a head that is read again is no end of a message."""
        if self._offer is None:
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, and reads again from the head that offered an upgrade."""
        self._unset_keepalive_if_required()
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self._offer is None:
                    if self._should_upgrade():
                        self.handle_websocket_upgrade()
                    return
                data = self._offer + data[upgrade.args[0] :]
                self._offer = None
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            except httptools.HttpParserError:
                self.logger.warning("Invalid HTTP request received.")
                self.send_400_response("Invalid HTTP request received.")
                return
            else:
                return

    def _head_without_offer(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [method + b" " + self.url + b" HTTP/" + version]
        for name, value in self.headers:
            if name == b"connection":
                kept = [token for token in value.split(b",") if token.strip().lower() not in _OF_THE_OFFER]
                value = b",".join(kept).strip()
            if name not in _OF_THE_OFFER and (value or name != b"connection"):
                lines.append(name + b": " + value)
        return b"\r\n".join(lines) + b"\r\n\r\n"
