"""Debian's chromium for tests of the pages, driven by Playwright; nothing is downloaded."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

# The headless shell is the same engine without the windows, tabs and buttons around a page: it needs half of the
# processor that chromium needs.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
AXE = Path(__file__).parents[2] / ".venv" / "browser" / "axe.min.js"
MISSING = "there is no chromium: `make browser` brings it"


class Browsing:
    """One browser; each page has a context of its own, as in another window."""

    def __init__(self) -> None:
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None
        self._contexts: list[BrowserContext] = []

    def __enter__(self) -> Self:
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._playwright is not None
        assert self._browser is not None
        self._browser.close()
        self._playwright.stop()

    def page(self, *, width: int = 1280, height: int = 900, colours: str = "light", **options: Any) -> Page:
        """A page in a window of its own."""
        assert self._browser is not None
        context = self._browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=colours,  # type: ignore[arg-type]  # light or dark
            locale="en-GB",
            timezone_id="Europe/Berlin",
            **options,
        )
        self._contexts.append(context)
        return context.new_page()


def signed_in(page: Page, address: str, key: str) -> None:
    """Open an address and sign in as a person does."""
    page.goto(address)
    page.get_by_label("Admin key" if "/ops" in address else "API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("nav")
