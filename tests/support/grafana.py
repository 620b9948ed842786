"""A dashboard's queries as Grafana's ClickHouse data source sends them: variables and macros replaced.

Source: grafana/clickhouse-datasource 4.20, `pkg/macros/macros.go` (macros of time), `src/data/CHDatasource.ts`
(`applyConditionalAll`, `getMacroArgs`) and `src/data/adHocFilter.ts` (ad hoc filters), and Grafana's formats of
variables. The order is the data source's: conditions, variables, ad hoc filters, macros.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

ALL = "$__all"
Value = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class View:
    """What a dashboard shows: its time, and the values of its variables.

    Attributes:
        interval_seconds: of one point, which Grafana chooses by the width of the panel.
        variables: by name; several values as a list, `ALL` for the choice of all.
        every: what `ALL` stands for, by variable.
    """

    start: datetime
    end: datetime
    interval_seconds: int
    variables: Mapping[str, Value] = field(default_factory=dict)
    every: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def expanded(self, sql: str) -> str:
        """The statement that reaches ClickHouse.

        Raises:
            ValueError: a variable or macro has no value, or a macro has the wrong number of arguments.
        """
        made = self._macros(self._variables(self._conditions(sql)))
        if left := re.search(r"\$\{?\w+", made):
            raise ValueError(f"nothing replaces {left[0]} in {made}")
        return made

    def _conditions(self, sql: str) -> str:
        name = "$__conditionalAll("
        while (at := sql.rfind(name)) != -1:
            arguments, end = _arguments(sql, at + len(name))
            if len(arguments) != 2:
                raise ValueError(f"$__conditionalAll takes two arguments, not {len(arguments)}: {sql}")
            variable = re.fullmatch(r"\s*(?:\$(\w+)|\$\{(\w+)\})\s*", arguments[1])
            if variable is None:
                raise ValueError(f"the second argument of $__conditionalAll is a plain variable, not {arguments[1]}")
            value = self.variables[variable[1] or variable[2]]
            sql = sql[:at] + ("1=1" if value in ("", ALL) else arguments[0]) + sql[end:]
        return sql

    def _variables(self, sql: str) -> str:
        def value_of(match: re.Match[str]) -> str:
            name, form = match[1] or match[3], match[2]
            if name.startswith("__"):
                return match[0]
            if name not in self.variables:
                raise ValueError(f"the dashboard has no variable {name}")
            value = self.variables[name]
            chosen = self.every[name] if value == ALL else value
            values = [chosen] if isinstance(chosen, str) else list(chosen)
            if form == "singlequote":
                return ",".join("'" + one.replace("'", "\\'") + "'" for one in values)
            if form is not None:
                raise ValueError(f"the format {form} is not known here")
            return values[0] if isinstance(chosen, str) else "'" + "','".join(values) + "'"

        return re.sub(r"\$\{(\w+)(?::(\w+))?\}|\$(\w+)", value_of, sql)

    def _macros(self, sql: str) -> str:
        start, end, seconds = int(self.start.timestamp()), int(self.end.timestamp()), max(self.interval_seconds, 1)
        plain = {
            "$__interval_s": str(seconds),
            "$__fromTime": f"toDateTime({start})",
            "$__toTime": f"toDateTime({end})",
        }
        calls = {
            "$__timeFilter": "{0} >= toDateTime(%d) AND {0} <= toDateTime(%d)" % (start, end),  # noqa: UP031
            "$__timeInterval": f"toStartOfInterval(toDateTime({{0}}), INTERVAL {seconds} second)",
        }
        for name, text in calls.items():
            while (found := re.search(re.escape(name) + r"\(", sql)) is not None:
                arguments, after = _arguments(sql, found.end())
                if len(arguments) != 1:
                    raise ValueError(f"{name} takes one argument, not {len(arguments)}: {sql}")
                sql = sql[: found.start()] + text.format(arguments[0]) + sql[after:]
        for name, text in plain.items():
            sql = re.sub(re.escape(name) + r"\b", text, sql)
        return sql


def with_ad_hoc_filters(sql: str, table: str, filters: Sequence[tuple[str, str, str]]) -> str:
    """A statement with ad hoc filters of a table, each (column, operator, value)."""
    written = "AND".join(f" {column} {operator} \\'{value}\\' " for column, operator, value in filters)
    return f"{sql} settings additional_table_filters={{'{table}' : '{written}'}}"


def _arguments(sql: str, at: int) -> tuple[list[str], int]:
    """The arguments of a call from behind its opening bracket, and the place behind its closing one."""
    depth, begin = 1, at
    found: list[str] = []
    for place in range(at, len(sql)):
        depth += {"(": 1, ")": -1}.get(sql[place], 0)
        if depth == 0:
            return [*found, sql[begin:place]], place + 1
        if depth == 1 and sql[place] == ",":
            found.append(sql[begin:place])
            begin = place + 1
    raise ValueError(f"a bracket is not closed: {sql}")
