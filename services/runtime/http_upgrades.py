"""An HTTP/1.1 server that ignores offers to change the protocol, as RFC 9110 (section 7.8) allows.

uvicorn's parser ends a request after a head that offers an upgrade, and uvicorn drops the body. The JDK's HttpClient
and `curl --http2` offer `Upgrade: h2c` by default, so their POSTs arrived empty. Here such a head is parsed again
without the offer, and the request is read like any other. Other requests cost nothing.
"""

from __future__ import annotations

from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# The headers of an offer. Source: RFC 9110, section 7.8; RFC 7540, section 3.2.1.
_OF_THE_OFFER = frozenset({b"upgrade", b"http2-settings"})


class UpgradeIgnoringProtocol(HttpToolsProtocol):
    """A protocol class for `uvicorn.Config(http=...)`; upgrades to WebSockets still work where the server has them."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._offer: bytes | None = None

    def on_headers_complete(self) -> None:
        """As uvicorn's; a head with an offer that is not taken is kept, to be parsed again."""
        if self.parser.should_upgrade() and not self._should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._offer = self._head_without_offer()
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """As uvicorn's, except after a head that will be parsed again, where the message has not ended."""
        if self._offer is None:
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, and parses a kept head again without its offer."""
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
