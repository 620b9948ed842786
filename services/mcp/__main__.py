"""Composition root of `tidemark mcp`: builds the settings, a client, and the server on standard input and output."""

from __future__ import annotations

from importlib.metadata import version

from services.mcp.server import build_server
from services.mcp.settings import McpSettings
from services.runtime.settings import exit_with, load_or_exit
from tidemark_client import Tidemark, TidemarkError


def main() -> None:
    """Serve until the host closes standard input; a query API that can't be read ends the process with one line."""
    settings = load_or_exit(McpSettings)
    with Tidemark(settings.query_api_url, settings.api_key) as client:
        try:
            client.capabilities()
        except TidemarkError as error:
            exit_with(f"{settings.query_api_url} can't be read with TIDEMARK_API_KEY: {error}")
        build_server(client, version("tidemark")).run("stdio")


if __name__ == "__main__":
    main()
