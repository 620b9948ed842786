"""A page of many things leaves the event loop to others while it is rendered."""

from __future__ import annotations

import asyncio

from services.query_api.tidemark.resources import lookups


async def test_others_are_served_while_a_page_is_rendered() -> None:
    found = {f"p{number}": number for number in range(500)}
    served_at: list[int] = []
    made = 0

    def make(state: int) -> dict[str, int]:
        nonlocal made
        made += 1
        return {"n": state}

    async def other() -> None:
        while made < len(found):
            served_at.append(made)
            await asyncio.sleep(0)

    serving = asyncio.create_task(other())
    shown = await lookups._rendered(found, make)
    await serving
    assert shown == {id_: {"n": number} for id_, number in found.items()}
    gaps = [after - before for before, after in zip([0, *served_at], [*served_at, len(found)], strict=True)]
    assert max(gaps) <= 50
