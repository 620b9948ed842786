"""What the user `analyst` may run, judged by the engine's own parse of the statement.

In: the syntax tree that `parseQueryToJSON` gives. Out: nothing, or a refusal. Pure. Statements, clauses and table
functions are allowlists: a kind that is not listed here is refused, so a later engine's new table function stays closed
until somebody lists it. Only scalar functions are a list of refusals, since 1,600 of them are harmless.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from infra.embedded.clickhouse import trees
from infra.embedded.clickhouse.errors import ACCESS_DENIED, READONLY, ServerError, refusal

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

# Functions that read files, dictionaries or tables not named in the statement, open connections (ai*), describe the
# machine, or only wait. Matched in lower case: the engine takes AIGenerate and aiGenerate, and some names in any case.
_REFUSED_FUNCTIONS = re.compile(
    r"ai_?[a-z]\w*|file|dict(?:get|has|isin)\w*|joinget(?:ornull)?|hascolumnintable|catboostevaluate|evalmlmethod"
    r"|naivebayes\w*|reversednsquery|getserversetting|getserverport|getmacro|getmergetreesetting|getclienthttpheader"
    r"|currentrequesturl|currenthandler|showcertificate|filesystem\w*|addressto\w*|logtrace"
    r"|region(?:to|in|hierarchy)\w*|lemmatize|stem|synonyms|detect[a-z]\w*|getoskernelversion"
    r"|serveruuid|fuzzquery|obfuscatequery\w*|structureto\w*schema|transaction(?:id|latestsnapshot|oldestsnapshot)"
    r"|zookeeper\w*|generateserialid|sleep|sleepeachrow|hostname|fqdn|fullhostname|tcpport|globalvariable"
    r"|mergetreepartinfo|ismergetreepartcoveredby"
)

_SET_FUNCTIONS = re.compile(r"(?:global)?(?:not)?(?:null)?in(?:ignoreset)?", re.IGNORECASE)

READING_NODES = frozenset(
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
ROOTS = frozenset({"SelectWithUnionQuery", "SelectQuery", "SelectIntersectExceptQuery", "Subquery"})
_SHOWS = frozenset({"ShowTablesQuery", "ShowColumnsQuery", "ShowIndexesQuery"})
READING_ROOTS = ROOTS | _SHOWS | {"ExplainQuery"}
_EXPLAINS = frozenset(
    {
        "EXPLAIN", "EXPLAIN AST", "EXPLAIN SYNTAX", "EXPLAIN QUERY TREE", "EXPLAIN PLAN", "EXPLAIN PIPELINE",
        "EXPLAIN ESTIMATE",
    }
)  # fmt: skip

_LABEL = "analyst: "


@dataclass(frozen=True, slots=True)
class Policy:
    """What the analyst may read.

    Attributes:
        database: the current database of a request that names none, or `default`.
        databases: further databases open to reading: names, or prefixes ending in `*`.
        hidden: patterns of table names that may not be named.
        own: names and prefixes of databases in which nothing is hidden.
    """

    database: str
    databases: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ("_*",)
    own: tuple[str, ...] = ()

    def may_use(self, database: str) -> bool:
        """Whether a request may have this current database."""
        return database in (self.database, "system") or any(fnmatchcase(database, name) for name in self.databases)

    def may_name(self, table: str) -> bool:
        """Whether a table of this name is not hidden."""
        return not any(fnmatchcase(table, pattern) for pattern in self.hidden)

    def check_table(self, database: str, table: str) -> None:
        """Check a table that a statement reads.

        Raises:
            ServerError: ACCESS_DENIED for a table that the analyst may not read.
        """
        if database == "system" and table in SYSTEM_TABLES:
            return
        if database.lower() == "information_schema":
            return
        if any(fnmatchcase(database, name) for name in self.own):
            return
        if database != "system" and self.may_use(database) and self.may_name(table):
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


@dataclass(slots=True)
class TreeCheck:
    """One walk over a statement's syntax tree.

    Attributes:
        database: the current database, for table names without one.
        params: values of `{name:Identifier}`, which may be part of a table's or a function's name.
        functions: function names in lower case, each with the function's full name.
        nodes: the kinds of nodes that a tree may have.
    """

    policy: Policy
    database: str
    params: Mapping[str, str] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)
    nodes: frozenset[str] = READING_NODES

    def check(self, tree: Tree) -> None:
        """Check a whole statement.

        Raises:
            ServerError: ACCESS_DENIED or READONLY; the statement must not run.
        """
        kind = tree.get("type")
        if kind == "ExplainQuery":
            inner = tree.get("query")
            if tree.get("kind") not in _EXPLAINS or not isinstance(inner, Mapping) or inner.get("type") not in ROOTS:
                raise not_readonly()
            # Options of EXPLAIN have the form of settings, but change nothing.
            tree = {name: value for name, value in tree.items() if name != "settings"}
        elif kind in _SHOWS:
            self._check_show(tree)
        elif kind not in ROOTS:
            raise not_readonly()
        self.walk(tree)

    def _check_show(self, tree: Tree) -> None:
        if any(tree.get(key) for key in ("cluster", "clusters", "temporary", "caches")):
            raise denied("SHOW")
        source = tree.get("from") or tree.get("database")
        parts = self._name_parts(source) if isinstance(source, Mapping) else [str(source or self.database)]
        self.check_database(".".join(parts))
        if tree.get("table"):
            self.policy.check_table(".".join(parts), str(tree["table"]))

    def check_database(self, database: str) -> None:
        """Check a database that a statement names.

        Raises:
            ServerError: ACCESS_DENIED for a database that the analyst may not use.
        """
        if not self.policy.may_use(database) and database.lower() != "information_schema":
            raise denied(f"SHOW DATABASES on {database}")

    def walk(self, node: Any) -> None:
        """Check the parts of a statement that read.

        Raises:
            ServerError: as `check`.
        """
        for part in trees.nodes(node):
            if "type" in part and "field_type" not in part:
                self._check_node(part)

    def _check_node(self, node: Tree) -> None:
        kind = node["type"]
        if kind not in self.nodes:
            raise denied(f"for {kind}")
        if node.get("out_file") is not None or node.get("compression") is not None:
            raise denied("FILE")
        if kind == "SetQuery":
            # Only settings of a subquery come here: those at the statement's end were taken out of the tree before.
            raise refusal(READONLY, "SETTINGS within a subquery are not open to the analyst: put them at the end")
        if kind == "TableExpression":
            self._check_source(node)
        elif kind == "TableIdentifier":
            self._check_table(node)
        elif kind == "Function":
            self._check_function(node)
        elif kind == "Identifier":
            # Where a lambda is expected, a function's bare name is one: arrayMap(file, paths).
            name = self._name_parts(node)[-1]
            if name.lower() in self.functions or not self.functions:
                self._check_function({"name": name})
            self._check_alias(node)
        elif kind == "ColumnsApplyTransformer":
            self._check_function({"name": node.get("func_name", "")})

    def _check_alias(self, node: Tree) -> None:
        # WITH name AS alias SELECT 1 IN alias reads the table `name`.
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
        lower = name.lower()
        if any(_REFUSED_FUNCTIONS.fullmatch(known) for known in (lower, self.functions.get(lower, "").lower())):
            raise denied(f"for the function {name}")
        if _SET_FUNCTIONS.fullmatch(name):
            arguments = (node.get("arguments") or {}).get("children", [])
            # `x IN name` reads the table `name`.
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
