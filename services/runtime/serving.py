"""The life of a service that works until a signal ends it: its operators' port, its work, and its exit code."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from services.runtime.logging import get_logger
from services.runtime.operations import OperationsServer
from services.runtime.reloading import Reloading
from services.runtime.settings import exit_with


async def serve_until_signal(
    name: str,
    serve: Callable[[], Coroutine[Any, Any, None]],
    operations: OperationsServer,
    *,
    on_stopping: Callable[[], None],
    refusals: tuple[type[BaseException], ...],
    reloading: Reloading,
) -> int:
    """Work until SIGTERM or SIGINT, or until the work ends by itself; returns the exit code.

    Args:
        name: of the service, for the log.
        serve: does the work until cancelled.
        on_stopping: called once the work is about to end.
        reloading: reads secrets again at SIGHUP.
        refusals: errors of `serve` that end the process with their own line, and exit code 1.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    reloading.at_signal()
    try:
        await operations.start()
    except OSError as error:
        exit_with(str(error), 1)
    serving = asyncio.create_task(serve())
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
        on_stopping()
        if not serving.done():
            serving.cancel()
        return _exit_code(name, (await asyncio.gather(serving, return_exceptions=True))[0], refusals)
    finally:
        stop.cancel()
        await operations.stop()


def _exit_code(name: str, outcome: BaseException | None, refusals: tuple[type[BaseException], ...]) -> int:
    if outcome is None or isinstance(outcome, asyncio.CancelledError):
        return 0
    reason = outcome
    while isinstance(reason, BaseExceptionGroup):
        reason = reason.exceptions[0]
    if isinstance(reason, refusals):
        exit_with(str(reason), 1)
    get_logger(f"services.{name}").error(f"the {name} stops because of a mistake of its own", exc_info=outcome)
    return 1
