"""A guest's limits: the settings that each of its statements runs with, and the settings that it may send.

In: the settings of a request and of a SETTINGS clause. Out: the settings that the statement runs with, or a refusal.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from infra.embedded.clickhouse.defaults import OF_INSERTS
from infra.embedded.clickhouse.errors import READONLY, refusal

# Settings that change how a result is written or how long a statement may take, and that read no file and lift no
# limit.
_HARMLESS_SETTINGS = re.compile(
    r"output_format_\w+|describe_\w+|date_time_output_format|max_threads|max_execution_time|max_block_size"
    r"|max_result_rows|max_result_bytes|result_overflow_mode|timeout_overflow_mode|max_rows_to_read|max_bytes_to_read"
    r"|read_overflow_mode|session_timezone|join_use_nulls|extremes|use_query_cache|log_comment|group_by_use_nulls|final"
    r"|max_memory_usage|aggregate_functions_null_for_empty|prefer_column_name_to_alias|limit|offset"
    r"|http_\w+|cast_keep_nullable|union_default_mode|use_client_time_zone"
)
# Settings for reading the rows that a client sends, and for waiting until a statement's changes are done.
_BUILDING_SETTINGS = re.compile(
    r"input_format_\w+|date_time_input_format|(?:mutations|alter|lightweight_deletes)_sync"
    r"|allow_nondeterministic_mutations"
)
# A syntax tree does not show expressions among the rows after VALUES, so both settings switch expressions off: without
# the second one the engine takes an expression for a template of constants and evaluates it.
_PLAIN_VALUES = {
    "input_format_values_interpret_expressions": "0",
    "input_format_values_deduce_templates_of_expressions": "0",
}
# The builder's statements run with these settings, whatever settings they bring.
_WRITING = {
    **_PLAIN_VALUES,
    "allow_introspection_functions": "0",
    "allow_nondeterministic_mutations": "1",
    "allow_python_table_function": "0",
}
# Searched for in the name: with `\w*` on both sides the time would be quadratic.
_FILE_SETTINGS = re.compile(r"schema|template|path|file|cache_dir")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")

_MIB = 1024 * 1024
# Settings for reading a statement that the engine has written from a judged tree. The engine puts brackets around the
# terms of a sum, each of which takes three of the 1,000 steps that its parser may go down by default, and writes names
# out. The guest's own text is read without these.
OF_WRITTEN = {"max_parser_depth": "4000", "max_query_size": str(4 * _MIB)}
# For a result that is held in memory whole: there rows take several times their bytes.
_HELD_RESULT_BYTES = 16 * _MIB


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one guest's statements.

    Attributes:
        slots: how many of the guest's statements may run at once; further statements wait.
        threads: the engine's threads for one statement; a statement with many takes the processors from all others.
        seconds: the longest that a statement may take, including the reading of its reply.
        waiting_seconds: how long a statement may wait for a slot.
        idle_seconds: how long a client may leave a reply unread.
        memory_bytes: the engine's memory for one statement.
        result_bytes: how much a result may hold, as columns and again as text.
        block_rows: the most rows in a block. A statement gives way to others, and can be stopped, between two blocks.
    """

    slots: int = 4
    threads: int = 1
    seconds: int = 120
    waiting_seconds: float = 15.0
    idle_seconds: float = 20.0
    memory_bytes: int = 256 * _MIB
    result_rows: int = 20_000_000
    result_bytes: int = 2048 * _MIB
    block_rows: int = 8192

    def settings(self, given: Mapping[str, str], *, held: bool = False) -> dict[str, str]:
        """The settings that a statement runs with.

        Args:
            given: settings from the client. 0, which means "no limit" to ClickHouse, and values above a limit become
                the limit.
            held: whether the whole result is in memory before any of it is sent.

        Raises:
            ServerError: READONLY for a setting that is not harmless, or that asks for more memory than the limit.
        """
        check_settings(given)
        return self._bounded(given, held=held)

    def writing_settings(self, given: Mapping[str, str]) -> dict[str, str]:
        """The settings that a statement which changes something runs with.

        Raises:
            ServerError: as `settings`.
        """
        check_settings(given, writing=True)
        return {**self._bounded(given), **_WRITING}

    def _bounded(self, given: Mapping[str, str], *, held: bool = False) -> dict[str, str]:
        bounds = {
            "max_execution_time": self.seconds,
            "max_memory_usage": self.memory_bytes,
            "max_result_bytes": min(self.result_bytes, _HELD_RESULT_BYTES) if held else self.result_bytes,
            "max_result_rows": self.result_rows,
            "max_threads": self.threads,
            "max_block_size": self.block_rows,
        }
        wanted = {**given, **OF_WRITTEN}
        for name, bound in bounds.items():
            value = _number(name, wanted[name]) if name in wanted else 0.0
            if name == "max_memory_usage" and name in wanted and not 0 < value <= bound:
                raise refusal(READONLY, f"Cannot modify '{name}' setting in readonly mode: at most {bound}.")
            wanted[name] = wanted[name] if 0 < value <= bound else str(bound)
        return wanted


def harmless_setting(name: str, *, writing: bool = False) -> bool:
    """Whether a guest may send this setting with a statement that reads, or, with `writing`, that changes something."""
    if _FILE_SETTINGS.search(name):
        return False
    return bool(_HARMLESS_SETTINGS.fullmatch(name) or (writing and _BUILDING_SETTINGS.fullmatch(name)))


def changeable_settings() -> str:
    """A SELECT of `system.settings` in which the settings that a guest may send are not read-only.

    On a guest's handle no setting can be changed, so the engine would list every setting as read-only. Drivers look
    a setting up there before they send it.
    """
    given = "|".join(f"(?:{names.pattern})" for names in (_HARMLESS_SETTINGS, _BUILDING_SETTINGS, OF_INSERTS))
    escaped = given.replace("\\", "\\\\")
    of_files = _FILE_SETTINGS.pattern.replace("\\", "\\\\")
    changeable = f"match(name, '^(?:{escaped})$') AND NOT match(name, '{of_files}')"
    return f"SELECT * REPLACE (toUInt8(NOT ({changeable})) AS readonly) FROM system.settings"


def check_settings(settings: Mapping[str, str], *, writing: bool = False) -> None:
    """Check settings that a guest sent.

    Raises:
        ServerError: READONLY for a setting that is not harmless.
    """
    for name in settings:
        if not harmless_setting(name, writing=writing):
            raise refusal(READONLY, f"Cannot modify '{name}' setting in readonly mode.")


def without_building(settings: Mapping[str, str]) -> dict[str, str]:
    """The settings without those for writing, which dbt sends with every statement, also with one that reads."""
    return {name: value for name, value in settings.items() if not _BUILDING_SETTINGS.fullmatch(name)}


def is_set(changes: Mapping[str, str]) -> bool:
    """Whether the builder's statements run with exactly these settings anyway."""
    return all(_WRITING.get(name) == value for name, value in changes.items())


def _number(name: str, text: str) -> float:
    # max_threads may read auto(2): the engine's own choice.
    if name == "max_threads" and text.startswith("auto"):
        return 0.0
    if not _NUMBER.fullmatch(text):
        raise refusal(READONLY, f"Cannot modify '{name}' setting in readonly mode: {text!r} is not a number.")
    return float(text)
