"""The readers of changes: in pages and as they come, resumed behind the last one whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from tidemark_client.errors import TidemarkError
from tidemark_client.models import Answer, ChangesPage, ChangeType, StateChange
from tidemark_client.transport import Transport, pause_seconds

# How long the server may hold an empty page of changes back; less than the time that a reply may take.
LONGEST_WAIT_SECONDS = 20
# How old the cursor that a follower keeps becomes while nothing of its types changes. A cursor is good for 90 days.
FRESH_SECONDS = 3600.0

_CHANGES = "/tidemark/v1/changes"
_STREAM = "/tidemark/v1/stream"
_Answer = TypeVar("_Answer", bound=Answer)


class ChangeCalls(Transport):
    """Reads what changed in a workspace. Every method raises TidemarkError."""

    def changes(
        self,
        cursor: str | None = None,
        *,
        types: Sequence[ChangeType] = (),
        page_size: int = 200,
        follows: bool = False,
    ) -> Iterator[ChangesPage]:
        """What changed since a cursor, in pages; without one, everything that exists comes first.

        Apply a page and keep its `next_cursor` in one transaction: then nothing is missed, whatever ends the program.
        Keep the cursor of an empty page as well: a cursor is good for 90 days only.

        Args:
            cursor: a page's `next_cursor`, a streamed change's `cursor`, or `now`.
            types: only of these. A cursor remembers its types: whoever goes on with further ones is told everything
                that exists of these first.
            follows: whether to go on for ever, waiting for changes; lost connections are made again, however long
                the server is away. The first page, and one an hour while nothing changes, may be empty. Otherwise the
                last page is the first one that says that there are no more.
        """
        asked = {"types": ",".join(types) or None, "limit": page_size}
        given_at: float | None = None
        while True:
            wait = {"wait": LONGEST_WAIT_SECONDS} if follows else {}
            asked_at = self._clock()
            page = self._patiently(follows, ChangesPage, _CHANGES, {**asked, **wait, "cursor": cursor})
            now = self._clock()
            if page.changes or not follows or given_at is None or now - given_at >= FRESH_SECONDS:
                given_at = now
                yield page
            cursor = page.next_cursor
            if not (page.has_more or follows):
                return
            if not (page.changes or page.has_more) and now - asked_at < 1:
                # A server that is about to end holds no page back.
                self._pause(pause_seconds(1, None))

    def stream(
        self,
        cursor: str | None = None,
        *,
        types: Sequence[ChangeType] = (),
        keep: Callable[[str], object] | None = None,
    ) -> Iterator[StateChange]:
        """Changes as they come, for ever; arguments as of `changes`. Lost connections are resumed without a gap.

        Keep the `cursor` of the last change that was applied, in one transaction with it.

        Args:
            keep: called about once an hour, while no change comes, with a cursor behind the changes that were handed
                over. Keep this cursor in place of the last one: a cursor is good for 90 days only.
        """
        asked = {"types": ",".join(types) or None}
        if cursor == "now":
            # A place that stays the same, should the connection be lost before the first change.
            cursor = self._patiently(True, ChangesPage, _CHANGES, {**asked, "cursor": cursor, "limit": 1}).next_cursor

        def renewed(old: str | None) -> str | None:
            try:
                page = self._read(ChangesPage, _CHANGES, {**asked, "cursor": old, "limit": 1})
            except TidemarkError as error:
                if not error.may_pass:
                    raise
                return None
            if page.changes or page.has_more:
                # The stream is about to tell more.
                return None
            if keep is not None:
                keep(page.next_cursor)
            return page.next_cursor

        for event in self._events(_STREAM, asked, cursor, renewed, FRESH_SECONDS):
            yield StateChange.model_validate_json(event.data).model_copy(update={"cursor": event.id})

    def _patiently(self, is_patient: bool, model: type[_Answer], path: str, params: Mapping[str, Any]) -> _Answer:
        """As `_read`; a patient caller waits for as long as the server is away, and as long as it asks for."""
        failures = 0
        while True:
            try:
                return self._read(model, path, params)
            except TidemarkError as error:
                if not is_patient or not error.may_pass:
                    raise
                failures += 1
                self._pause(pause_seconds(failures, error.retry_after))
