"""What the user `builder` may change: tables and views in databases of its own, filled from tables that it may read.

In: the syntax tree of a statement that changes something. Out: nothing, or a refusal. Pure. Everything is an allowlist,
down to the fields of a node: a clause that is not listed here is refused, so a later engine's new clause stays closed
until somebody lists it. The parts of a statement that read are judged by `analyst.TreeCheck`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.embedded.clickhouse import trees
from infra.embedded.clickhouse.analyst import READING_NODES, Tree, TreeCheck
from infra.embedded.clickhouse.errors import ACCESS_DENIED, READONLY, ServerError, refusal
from infra.embedded.clickhouse.rebuilding import settings_of

# Not Memory: its rows would take memory from everybody's statements.
TABLE_ENGINES = frozenset(
    {
        "AggregatingMergeTree", "CoalescingMergeTree", "CollapsingMergeTree", "MergeTree", "Null", "ReplacingMergeTree",
        "SummingMergeTree", "VersionedCollapsingMergeTree",
    }
)  # fmt: skip
# Settings of the storage's place are left out: `disk` and `storage_policy` name paths and addresses.
_TABLE_SETTINGS = re.compile(
    r"(?:non_)?replicated_deduplication_window|index_granularity(?:_bytes)?|allow_nullable_key|ttl_only_drop_parts"
    r"|min_(?:rows|bytes)_for_wide_part|enable_block_(?:number|offset)_column|add_minmax_index_for_\w+_columns"
)
_NODES = READING_NODES | {
    "AlterCommand", "Assignment", "ColumnDeclaration", "Columns definition", "ConstraintDeclaration",
    "IndexDeclaration", "Partition", "Storage", "StorageOrderByElement", "TTLElement",
}  # fmt: skip
_TARGET = frozenset({"type", "database", "table", "database_ast", "table_ast"})
_CREATE = _TARGET | {
    "if_not_exists", "is_ordinary_view", "replace_view", "replace_table", "create_or_replace", "is_create_empty",
    "columns_list", "storage", "select", "as_database", "as_table", "comment",
}  # fmt: skip
_STORAGE = frozenset({"type", "engine", "partition_by", "primary_key", "order_by", "sample_by", "ttl_table"})
_DROP = _TARGET | {"kind", "if_exists", "if_empty", "is_view", "sync"}
_ALTER = _TARGET | {"alter_object", "command_list"}
_COMMANDS = frozenset(
    {
        "ADD_COLUMN", "ADD_CONSTRAINT", "ADD_INDEX", "COMMENT_COLUMN", "DELETE", "DROP_COLUMN", "DROP_CONSTRAINT",
        "DROP_INDEX", "DROP_PARTITION", "MATERIALIZE_COLUMN", "MATERIALIZE_INDEX", "MODIFY_COLUMN", "MODIFY_COMMENT",
        "MODIFY_ORDER_BY", "MODIFY_TTL", "REMOVE_TTL", "RENAME_COLUMN", "REPLACE_PARTITION", "UPDATE",
    }
)  # fmt: skip
_COMMAND = frozenset(
    {
        "type", "command_type", "if_exists", "if_not_exists", "first", "replace", "part", "partition", "col_decl",
        "column", "rename_to", "comment", "predicate", "update_assignments", "assignments", "order_by", "ttl",
        "index", "index_decl", "after_index", "constraint", "constraint_decl", "from_database", "from_table",
        "remove_property",
    }
)  # fmt: skip
_RENAMED = frozenset({"from_database", "from_table", "to_database", "to_table", "if_exists"})
_RENAMED_ASTS = frozenset({"from_database_ast", "from_table_ast", "to_database_ast", "to_table_ast"})
_LABEL = "builder: "


@dataclass(frozen=True, slots=True)
class Own:
    """The databases of the builder: one, and those whose names begin with its name and an underscore."""

    database: str

    def has(self, database: str) -> bool:
        """Whether the builder may change this database."""
        return database == self.database or database.startswith(f"{self.database}_")

    @property
    def patterns(self) -> tuple[str, str]:
        """The database's name and the pattern of the others, for `Policy.own`."""
        return self.database, f"{self.database}_*"


def refused(what: str) -> ServerError:
    """ACCESS_DENIED for the builder, with the reason in `what`."""
    return refusal(ACCESS_DENIED, f"{_LABEL}Not enough privileges: {what}.")


def check_written(tree: Tree, own: Own, check: TreeCheck) -> None:
    """Judge a statement that changes something.

    Args:
        check: judges the parts that read; names without a database belong to its current database.

    Raises:
        ServerError: ACCESS_DENIED or READONLY; the statement must not run.
    """
    _Judge(own, check).judge(tree)


def insert_head(tree: Tree, own: Own, check: TreeCheck) -> str:
    """The head of an INSERT whose rows come with the request, written anew from names alone.

    Raises:
        ServerError: ACCESS_DENIED or READONLY; the rows must not be inserted.
    """
    if tree.get("type") != "InsertQuery" or "select" in tree:
        raise refusal(READONLY, f"{_LABEL}Cannot execute query in readonly mode.")
    judge = _Judge(own, check)
    judge.judge(tree)
    database, table = judge.target(tree)
    head = f"INSERT INTO {_quoted(database)}.{_quoted(table)}"
    columns = tree.get("columns")
    if columns is None:
        return head
    names = []
    for column in columns.get("children", []):
        if column.get("type") != "Identifier" or column.get("alias") or column.get("children"):
            raise refused("an INSERT must name its columns plainly")
        names.append(".".join(_quoted(str(part)) for part in column.get("name_parts") or [column["name"]]))
    return f"{head} ({', '.join(names)})"


class _Judge:
    def __init__(self, own: Own, check: TreeCheck) -> None:
        self._own = own
        self._check = check
        check.nodes = _NODES

    def judge(self, tree: Tree) -> None:
        kinds = {
            "AlterQuery": self._alter,
            "CreateQuery": self._create,
            "DeleteQuery": self._delete,
            "DropQuery": self._drop,
            "InsertQuery": self._insert,
            "OptimizeQuery": self._optimize,
            "RenameQuery": self._rename,
        }
        kind = kinds.get(str(tree.get("type")))
        if kind is None:
            raise refusal(READONLY, f"{_LABEL}Only tables and views of its own may be changed.")
        kind(tree)

    def target(self, tree: Tree) -> tuple[str, str]:
        """The database and the table that a statement changes."""
        # INSERT and some others have a node for each name; the other statements have a plain name and a node.
        return self._name(tree, "database") or self._check.database, self._name(tree, "table")

    @staticmethod
    def _name(tree: Tree, key: str) -> str:
        names = []
        for value in (tree.get(key), tree.get(f"{key}_ast")):
            if isinstance(value, Mapping):
                if value.get("type") != "Identifier" or value.get("children") or value.get("alias"):
                    raise refused("the names of what is changed must be plain")
                names.append(str(value.get("name", "")))
            elif value:
                names.append(str(value))
        if len(set(names)) > 1 or not all(names):
            raise refused("the names of what is changed must be plain")
        return names[0] if names else ""

    def _own_target(self, tree: Tree) -> tuple[str, str]:
        database, table = self.target(tree)
        if not table:
            raise refused(f"databases are made by CREATE DATABASE {self._own.database}_...")
        self._require_own(database)
        return database, table

    def _require_own(self, database: str) -> None:
        if not self._own.has(database):
            raise refused(f"it may change {self._own.database} and {self._own.database}_*, and not {database}")

    def _only(self, tree: Tree, known: frozenset[str], what: str) -> None:
        for name, value in tree.items():
            if name not in known and value not in (False, "", None):
                raise refused(f"{what} with {name} is not open to it")

    def _reads(self, *parts: Any) -> None:
        for part in parts:
            self._check.walk(part)

    def _create(self, tree: Tree) -> None:
        self._only(tree, _CREATE, "CREATE")
        if not tree.get("table"):
            self._only(tree, frozenset({"type", "database", "database_ast", "if_not_exists"}), "CREATE DATABASE")
            self._require_own(self._name(tree, "database"))
            return
        self._own_target(tree)
        if tree.get("as_table"):
            self._require_own(str(tree.get("as_database") or self._check.database))
        elif not tree.get("is_ordinary_view"):
            self._storage(tree.get("storage"))
        if tree.get("as_table") and tree.get("storage"):
            self._storage(tree["storage"])
        if tree.get("is_ordinary_view") and tree.get("storage"):
            raise refused("a view has no engine")
        if _has_parameter(tree):
            raise refused("what is kept has no parameters")
        self._reads(tree.get("columns_list"), tree.get("select"))

    def _storage(self, storage: Any) -> None:
        if not isinstance(storage, Mapping):
            raise refused(f"a table names its ENGINE, one of {', '.join(sorted(TABLE_ENGINES))}")
        rest = {name: value for name, value in storage.items() if name != "settings"}
        self._only(rest, _STORAGE, "a table")
        engine = storage.get("engine")
        if not isinstance(engine, Mapping) or engine.get("name") not in TABLE_ENGINES:
            raise refused(f"a table's ENGINE is one of {', '.join(sorted(TABLE_ENGINES))}")
        for argument in (engine.get("arguments") or {}).get("children", []):
            if argument.get("type") not in ("Identifier", "Literal") and argument.get("name") != "tuple":
                raise refused("an engine's arguments are columns")
        for name in settings_of(storage.get("settings")):
            if not _TABLE_SETTINGS.fullmatch(name):
                raise refused(f"the setting {name} of a table is not open to it")
        self._ttl(storage.get("ttl_table"))
        self._reads({name: value for name, value in rest.items() if name != "engine"}, engine.get("arguments"))

    def _ttl(self, node: Any) -> None:
        """Check a TTL clause: rows may be deleted or grouped, and not moved to other disks."""
        for found in trees.nodes(node):
            if found.get("type") != "TTLElement":
                continue
            if found.get("destination_name") or str(found.get("mode", "DELETE")) not in ("DELETE", "GROUP_BY"):
                raise refused("TTL only deletes")

    def _insert(self, tree: Tree) -> None:
        self._only(tree, frozenset({"type", "database", "table", "columns", "select", "format"}), "INSERT")
        self._own_target(tree)
        self._reads(tree.get("columns"), tree.get("select"))

    def _drop(self, tree: Tree) -> None:
        self._only(tree, _DROP, "DROP")
        if tree.get("kind") not in ("Drop", "Truncate"):
            raise refused(f"{tree.get('kind')} is not open to it")
        database, table = self.target(tree)
        self._require_own(database)
        if not table and (tree.get("kind") != "Drop" or database == self._own.database):
            raise refused(f"the database {database} stays")

    def _rename(self, tree: Tree) -> None:
        self._only(tree, frozenset({"type", "exchange", "elements", "rename_if_cannot_exchange"}), "RENAME")
        for element in tree.get("elements", []):
            self._only(element, _RENAMED | _RENAMED_ASTS, "RENAME")
            for side in ("from", "to"):
                if not self._name(element, f"{side}_table"):
                    raise refused("a renamed table has a name")
                self._require_own(self._name(element, f"{side}_database") or self._check.database)

    def _alter(self, tree: Tree) -> None:
        self._only(tree, _ALTER, "ALTER")
        if tree.get("alter_object") != "TABLE" or _has_parameter(tree):
            raise refused("ALTER changes tables, without parameters")
        self._own_target(tree)
        for command in (tree.get("command_list") or {}).get("children", []):
            if command.get("command_type") not in _COMMANDS:
                raise refused(f"ALTER {command.get('command_type')} is not open to it")
            self._only(command, _COMMAND, "ALTER")
            if command.get("command_type") == "REPLACE_PARTITION":
                self._require_own(str(command.get("from_database") or self._check.database))
            self._ttl(command)
            self._reads(command)

    def _delete(self, tree: Tree) -> None:
        self._only(tree, frozenset({"type", "database", "table", "predicate", "partition"}), "DELETE")
        self._own_target(tree)
        self._reads(tree.get("partition"), tree.get("predicate"))

    def _optimize(self, tree: Tree) -> None:
        self._only(tree, frozenset({"type", "database", "table", "final", "partition"}), "OPTIMIZE")
        self._own_target(tree)
        self._reads(tree.get("partition"))


def _has_parameter(tree: Tree) -> bool:
    return any(node.get("type") == "QueryParameter" for node in trees.nodes(tree))


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
