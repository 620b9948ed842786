"""Draws the pictures of the pages for the README: `make pictures`.

python -m tests.support.pictures                   docs/pictures/*.png, of a Tidemark of its own
python -m tests.support.pictures --ready FILE DIR  into DIR, of a running one with the scene of `pages` in `demo`
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from tests.support.browser import CHROMIUM, Browsing, signed_in
from tests.support.pages import show
from tests.support.tidemark import Tidemark

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
DAYS = 70
# The name of a picture, the address, and the field of the key.
PICTURES = {
    "overview": "/app?range=28d&zone=UTC",
    "posts": "/app?view=posts&sort=engagements&zone=UTC",
    "best-times": "/app?view=best-times&zone=UTC",
    "health": "/ops",
}


def draw(origin: str, key: str, admin_key: str, folder: Path) -> None:
    """Draw all pictures of a Tidemark."""
    folder.mkdir(parents=True, exist_ok=True)
    with Browsing() as browsing:
        for name, address in PICTURES.items():
            page: Any = browsing.page(width=1280, height=860)
            signed_in(page, origin + address, admin_key if address.startswith("/ops") else key)
            page.wait_for_selector("[data-metric]")
            expect(page.locator(".loading")).to_have_count(0, timeout=30_000)
            page.screenshot(path=str(folder / f"{name}.png"))


def main() -> None:
    """Start a Tidemark with the scene, and draw it."""
    if CHROMIUM is None:
        sys.exit("there is no chromium: `make browser` brings it")
    with tempfile.TemporaryDirectory() as folder:
        tidemark = Tidemark(Path(folder), {"TIDEMARK_POLL_SPEED": "60"})
        tidemark.start()
        try:
            key, _ = show(tidemark, "demo", DAYS)
            draw(tidemark.ready["query_api"], key, tidemark.ready["admin_key"], FOLDER)
        finally:
            tidemark.stop()


if __name__ == "__main__":
    main()
