"""What the user `analyst` may run, judged by the engine's own parse of the statement.

In: the syntax tree that `parseQueryToJSON` gives, or the tokens of the few statements it has no tree for. Out:
nothing, or a refusal. Pure. Everything is an allowlist but scalar functions, of which the engine has 1,600 harmless
ones: what is not known here is refused, so a later engine's new table function or statement is closed until someone
opens it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from infra.embedded.clickhouse.errors import ACCESS_DENIED, READONLY, ServerError, refusal
from infra.embedded.clickhouse.statements import Token, tokens

Tree = Mapping[str, Any]

TABLE_FUNCTIONS = frozenset(
    {
        "generate_series", "generaterandom", "generateseries", "null", "numbers", "numbers_mt", "one", "primes",
        "sqlstandardvalues", "values", "view", "zeros", "zeros_mt",
    }
)  # fmt: skip

SYSTEM_TABLES = frozenset(
    {
        "aggregate_function_combinators", "build_options", "codecs", "collations", "columns", "completions",
        "contributors", "current_roles", "data_skipping_indices", "data_type_families", "database_engines", "databases",
        "dictionaries", "documentation", "enabled_roles", "formats", "functions", "keywords", "licenses", "numbers",
        "numbers_mt", "one", "parts", "parts_columns", "primes", "projections", "settings", "table_engines",
        "table_functions", "tables", "time_zones", "unicode", "zeros", "zeros_mt",
    }
)  # fmt: skip

# Read files, tables or dictionaries past the tables that a statement names, open connections (ai*), describe
# the machine, or only wait.
_REFUSED_FUNCTIONS = re.compile(
    r"ai[A-Z]\w*|file|dict(?:Get|Has|IsIn)\w*|joinGet(?:OrNull)?|hasColumnInTable|catboostEvaluate|evalMLMethod"
    r"|naiveBayes\w*|reverseDNSQuery|getServerSetting|getServerPort|getMacro|getMergeTreeSetting|getClientHTTPHeader"
    r"|currentRequestURL|currentHandler|showCertificate|filesystem\w*|addressTo\w*|logTrace"
    r"|region(?:To|In|Hierarchy)\w*|lemmatize|stem|synonyms|detect[A-Z]\w*|getOSKernelVersion"
    r"|serverUUID|fuzzQuery|obfuscateQuery\w*|structureTo\w*Schema|transaction(?:ID|LatestSnapshot|OldestSnapshot)"
    r"|zookeeper\w*|(?i:sleep|sleepEachRow|hostName|FQDN|fullHostName|tcpPort|globalVariable|mergeTreePartInfo"
    r"|isMergeTreePartCoveredBy)"
)

_SET_FUNCTIONS = re.compile(r"(?:global)?(?:not)?(?:null)?in(?:ignoreset)?", re.IGNORECASE)

_NODES = frozenset(
    {
        "ArrayJoin", "Asterisk", "ColumnsApplyTransformer", "ColumnsExceptTransformer", "ColumnsListMatcher",
        "ColumnsRegexpMatcher", "ColumnsReplaceTransformer", "ColumnsReplaceTransformerReplacement",
        "ColumnsTransformerList", "DataType", "ExplainQuery", "ExpressionList", "Function", "GroupByElement",
        "Identifier", "InterpolateElement", "Literal", "NameTypePair", "Optimize", "OrderByElement", "Pair",
        "QualifiedAsterisk", "QualifiedColumnsListMatcher", "QualifiedColumnsRegexpMatcher", "QueryParameter",
        "SampleRatio", "SelectIntersectExceptQuery", "SelectQuery", "SelectWithUnionQuery", "SetQuery",
        "ShowColumnsQuery", "ShowIndexesQuery", "ShowTablesQuery", "Subquery", "TableExpression", "TableIdentifier",
        "TableJoin", "TablesInSelectQuery", "TablesInSelectQueryElement", "WindowDefinition", "WindowListElement",
        "WithElement",
    }
)  # fmt: skip
_ROOTS = frozenset({"SelectWithUnionQuery", "SelectQuery", "SelectIntersectExceptQuery", "Subquery"})
_SHOWS = frozenset({"ShowTablesQuery", "ShowColumnsQuery", "ShowIndexesQuery"})
_EXPLAINS = frozenset(
    {
        "EXPLAIN", "EXPLAIN AST", "EXPLAIN SYNTAX", "EXPLAIN QUERY TREE", "EXPLAIN PLAN", "EXPLAIN PIPELINE",
        "EXPLAIN ESTIMATE",
    }
)  # fmt: skip

# A setting that changes how a result is written or how long it may take, and neither reads a file nor lifts a limit.
_HARMLESS_SETTINGS = re.compile(
    r"output_format_\w+|date_time_output_format|max_threads|max_execution_time|max_block_size|max_result_rows"
    r"|max_result_bytes|result_overflow_mode|timeout_overflow_mode|max_rows_to_read|max_bytes_to_read|read_overflow_mode"
    r"|session_timezone|join_use_nulls|extremes|use_query_cache|log_comment|group_by_use_nulls|final"
    r"|max_memory_usage|aggregate_functions_null_for_empty|prefer_column_name_to_alias|limit|offset"
    r"|http_\w+|cast_keep_nullable|union_default_mode|use_client_time_zone"
)
_FILE_SETTINGS = re.compile(r"\w*(?:schema|template|path|file|cache_dir)\w*")

_LABEL = "analyst: "


def harmless_setting(name: str) -> bool:
    """Whether the analyst may give this setting with a statement."""
    return _HARMLESS_SETTINGS.fullmatch(name) is not None and _FILE_SETTINGS.fullmatch(name) is None


@dataclass(frozen=True, slots=True)
class Policy:
    """What the analyst may read.

    Attributes:
        database: the current database where a request names none, or `default`.
        databases: names, or prefixes ending in `*`, of the further databases open to reading.
        hidden: patterns of table names that may not be named.
    """

    database: str
    databases: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ("_*",)

    def may_use(self, database: str) -> bool:
        """Whether this may be the current database."""
        return database in (self.database, "system") or any(fnmatchcase(database, name) for name in self.databases)

    def check_table(self, database: str, table: str) -> None:
        """Raises: ServerError: ACCESS_DENIED for a table that the analyst may not read."""
        if database == "system" and table in SYSTEM_TABLES:
            return
        if database.lower() == "information_schema":
            return
        if (
            database != "system"
            and self.may_use(database)
            and not any(fnmatchcase(table, pattern) for pattern in self.hidden)
        ):
            return
        raise denied(f"SELECT on {database}.{table}")


def denied(grant: str) -> ServerError:
    """A refusal in the words of ClickHouse's own access control."""
    return refusal(
        ACCESS_DENIED,
        f"{_LABEL}Not enough privileges. To execute this query, it's necessary to have the grant {grant}.",
    )


def not_readonly() -> ServerError:
    """The engine's refusal of a statement that does not read."""
    return refusal(READONLY, f"{_LABEL}Cannot execute query in readonly mode.")


def check_settings(settings: Mapping[str, str]) -> None:
    """Raises: ServerError: READONLY for a setting that is not harmless."""
    for name in settings:
        if not harmless_setting(name):
            raise refusal(READONLY, f"Cannot modify '{name}' setting in readonly mode.")


@dataclass(slots=True)
class TreeCheck:
    """One walk over a statement's syntax tree.

    Attributes:
        database: the current database, which names without one belong to.
        params: values of `{name:Identifier}`, which may stand in a table's name.
    """

    policy: Policy
    database: str
    params: Mapping[str, str] = field(default_factory=dict)

    def check(self, tree: Tree) -> None:
        """Checks a whole statement.

        Raises:
            ServerError: ACCESS_DENIED or READONLY; the statement must not run.
        """
        kind = tree.get("type")
        if kind == "ExplainQuery":
            inner = tree.get("query")
            if tree.get("kind") not in _EXPLAINS or not isinstance(inner, Mapping) or inner.get("type") not in _ROOTS:
                raise not_readonly()
            # Options of EXPLAIN look like settings, but change nothing.
            tree = {name: value for name, value in tree.items() if name != "settings"}
        elif kind in _SHOWS:
            self._check_show(tree)
        elif kind not in _ROOTS:
            raise not_readonly()
        self._walk(tree)

    def _check_show(self, tree: Tree) -> None:
        if any(tree.get(key) for key in ("cluster", "clusters", "temporary", "caches")):
            raise denied("SHOW")
        source = tree.get("from") or tree.get("database")
        name = source.get("name") if isinstance(source, Mapping) else source
        database = str(name or tree.get("from_database") or self.database)
        if tree.get("table"):
            self.policy.check_table(database, str(tree["table"]))

    def _walk(self, node: Any) -> None:
        if isinstance(node, Mapping):
            if "type" in node and "field_type" not in node:
                self._check_node(node)
            for value in node.values():
                self._walk(value)
        elif isinstance(node, Sequence) and not isinstance(node, str):
            for value in node:
                self._walk(value)

    def _check_node(self, node: Tree) -> None:
        kind = node["type"]
        if kind not in _NODES:
            raise denied(f"for {kind}")
        if node.get("out_file") is not None or node.get("compression") is not None:
            raise denied("FILE")
        if kind == "SetQuery":
            names = [str(change.get("name")) for change in node.get("changes", [])]
            raise refusal(READONLY, f"Cannot modify '{(names or ['readonly'])[0]}' setting in readonly mode.")
        if kind == "TableExpression":
            self._check_source(node)
        elif kind == "TableIdentifier":
            self._check_table(node)
        elif kind == "Function":
            self._check_function(node)
        elif kind == "Identifier":
            # A function's bare name is a lambda where one is expected: arrayMap(file, paths).
            self._check_function({"name": node.get("name", "")})
            self._check_alias(node)
        elif kind == "ColumnsApplyTransformer":
            self._check_function({"name": node.get("func_name", "")})

    def _check_alias(self, node: Tree) -> None:
        # WITH name AS alias SELECT 1 IN alias reads the table of that name.
        *database, name = self._name_parts(node)
        if "alias" in node and any(fnmatchcase(name, pattern) for pattern in self.policy.hidden):
            raise denied(f"SELECT on {database[0] if database else self.database}.{name}")

    def _check_source(self, node: Tree) -> None:
        function = node.get("table_function")
        if function is None:
            return
        name = str(function.get("name", "")) if isinstance(function, Mapping) else ""
        if name.lower() not in TABLE_FUNCTIONS:
            raise denied(f"CREATE TEMPORARY TABLE, READ ON {name.upper() or 'UNKNOWN'}")

    def _check_function(self, node: Tree) -> None:
        name = str(node.get("name", ""))
        if _REFUSED_FUNCTIONS.fullmatch(name):
            raise denied(f"for the function {name}")
        if _SET_FUNCTIONS.fullmatch(name):
            arguments = (node.get("arguments") or {}).get("children", [])
            # `x IN name` reads the table of that name.
            if len(arguments) == 2 and arguments[1].get("type") in ("Identifier", "TableIdentifier"):
                self._check_table(arguments[1])

    def _check_table(self, node: Tree) -> None:
        parts = self._name_parts(node)
        if len(parts) == 1:
            self.policy.check_table(self.database, parts[0])
        elif len(parts) == 2:
            self.policy.check_table(parts[0], parts[1])
        else:
            raise denied("SELECT on " + ".".join(parts))

    def _name_parts(self, node: Tree) -> list[str]:
        parameters = iter([child for child in node.get("children", []) if child.get("type") == "QueryParameter"])
        parts = [str(part) for part in node.get("name_parts") or [node.get("name", "")]]
        resolved = []
        for part in parts:
            parameter = next(parameters, None) if not part else None
            resolved.append(part if parameter is None else self.params.get(str(parameter.get("name")), ""))
        return resolved


_PLAIN_SHOWS = frozenset({"FUNCTIONS", "ENGINES"})


def check_tokens(text: str, policy: Policy, database: str) -> str | None:
    """Judges the statements for which the engine gives no syntax tree: DESCRIBE, EXISTS, SHOW CREATE and the like.

    Returns:
        a SELECT inside DESCRIBE that is still to be judged by its tree, or None when the statement may run.

    Raises:
        ServerError: READONLY for any other statement, ACCESS_DENIED for a table that may not be read.
    """
    words = _without_format(list(tokens(text)))
    verb = words[0].upper if words else ""
    rest = words[1:]
    if verb in ("DESCRIBE", "DESC"):
        rest = rest[1:] if rest and rest[0].upper == "TABLE" and len(rest) > 1 else rest
        if rest and rest[0].text == "(" and rest[-1].text == ")":
            return text[rest[0].start : rest[-1].end]
        policy.check_table(*_table_name(rest, database))
        return None
    if verb == "EXISTS":
        _check_named(rest, policy, database)
        return None
    if verb == "SHOW" and rest:
        if rest[0].upper in _PLAIN_SHOWS and len(rest) == 1:
            return None
        if rest[0].upper == "FUNCTIONS" and len(rest) == 3 and rest[1].upper in ("LIKE", "ILIKE"):
            return None
        if rest[0].upper == "SETTING" and len(rest) == 2:
            return None
        if rest[0].upper == "CREATE":
            _check_named(rest[1:], policy, database)
            return None
    raise not_readonly()


def _check_named(rest: list[Token], policy: Policy, database: str) -> None:
    keyword = rest[0].upper if len(rest) > 1 and rest[0].kind == "word" and rest[1].text != "." else ""
    if keyword == "DATABASE":
        name, _ = _table_name([rest[1]], database) if len(rest) == 2 else ("", "")
        if not policy.may_use(_identifier(rest[1])):
            raise denied(f"SHOW DATABASES on {name}")
        return
    if keyword not in ("", "TABLE", "VIEW"):
        raise not_readonly()
    policy.check_table(*_table_name(rest[1:] if keyword else rest, database))


def _table_name(rest: list[Token], database: str) -> tuple[str, str]:
    if len(rest) == 1 and rest[0].kind in ("word", "quoted"):
        return database, _identifier(rest[0])
    if len(rest) == 3 and rest[1].text == "." and {rest[0].kind, rest[2].kind} <= {"word", "quoted"}:
        return _identifier(rest[0]), _identifier(rest[2])
    raise not_readonly()


def _identifier(token: Token) -> str:
    if token.kind == "word":
        return token.text
    if "\\" in token.text or token.text[0] in token.text[1:-1]:
        raise not_readonly()
    return token.text[1:-1]


def _without_format(words: list[Token]) -> list[Token]:
    if len(words) > 2 and words[-2].upper == "FORMAT" and words[-1].kind == "word":
        return words[:-2]
    return words
