"""The `tidemark` command: one subcommand for each service or task. Only composition; each body lives elsewhere,
and groups of subcommands live in `services/commands`.

Modules are imported inside the commands, so that `--help` is quick and a service never loads another's packages.
"""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from typer._click.core import Context
from typer._click.exceptions import ClickException
from typer.core import TyperGroup

from services.commands.backup import backup
from services.commands.catalog import catalog
from services.commands.dead_letters import dead_letters
from services.commands.keys import keys
from services.commands.platforms import platforms
from services.commands.secrets import secrets
from services.commands.usable import usable
from services.commands.workspace import workspace
from services.runtime import stopping
from services.runtime.patience import waiting_for
from services.runtime.settings import FILE_SUFFIX, SettingsError, exit_with, read_secret


class _Commands(TyperGroup):
    """All commands; Ctrl-C or SIGTERM ends any of them with one line."""

    def invoke(self, ctx: Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            exit_with("stopped", stopping.exit_code())


app = typer.Typer(
    name="tidemark",
    cls=_Commands,
    help="Analytics backend for social publishing products, on Kafka and ClickHouse.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
poller = typer.Typer(help="Ask the platforms and publish their answers.", invoke_without_command=True)
app.add_typer(keys, name="keys")
app.add_typer(catalog, name="catalog")
app.add_typer(backup, name="backup")
app.add_typer(workspace, name="workspace")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(poller, name="poller")
app.add_typer(platforms, name="platforms")
app.add_typer(secrets, name="secrets")

# Commands that begin or serve an installation: they take no addresses from a running one.
_STANDING_ALONE = frozenset({"up", "sandbox", "poller", "aggregator", "query-api", "notifier"})


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        print(f"tidemark {version('tidemark')}")
        raise typer.Exit


@app.callback()
def before_each_command(
    context: typer.Context,
    data_dir: Annotated[
        Path,
        typer.Option(
            help="Data folder of the running `tidemark up` to work with; addresses in the environment win over it."
        ),
    ] = Path(".tidemark"),
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Analytics backend for social publishing products, on Kafka and ClickHouse."""
    if context.resilient_parsing or {"-h", "--help"} & set(sys.argv[1:]):
        return
    from services.configuration import check_environment
    from services.runtime.environment import read_dotenv
    from services.status.addresses import adopted

    try:
        for unknown in check_environment():
            print(f"tidemark: {unknown}", file=sys.stderr)
        if context.invoked_subcommand not in _STANDING_ALONE:
            _read_admin_key({**read_dotenv(Path(".env")), **os.environ})
        if context.invoked_subcommand not in _STANDING_ALONE or "backfill" in sys.argv[1:]:
            found = adopted(data_dir, {**read_dotenv(Path(".env")), **os.environ})
            os.environ.update(found.environment)
            context.obj = found
    except SettingsError as error:
        exit_with(str(error))


def _read_admin_key(told: Mapping[str, str]) -> None:
    """Let commands that ask the admin API have the key from its file, as the query API itself does."""
    name = "TIDEMARK_ADMIN_KEY"
    if (path := told.get(name + FILE_SUFFIX)) and not told.get(name):
        os.environ[name] = read_secret(name, path)


def _service(module: str) -> NoReturn:
    """Replace this process by a service, so that signals and exit codes are the service's own."""
    os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606 - our own module


@app.command()
def up(
    data_dir: Annotated[Path, typer.Option(help="Folder for all state; a second run goes on with it.")] = Path(
        ".tidemark"
    ),
    ports: Annotated[
        Literal["auto", "default"], typer.Option(help="The usual ports, or whichever are free.")
    ] = "default",
    sandbox: Annotated[bool, typer.Option(help="Poll the built-in sandbox instead of the real platforms.")] = True,
    without: Annotated[list[str] | None, typer.Option(help="A service to leave out; may be repeated.")] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="File for addresses and process ids, written once everything is ready.")
    ] = None,
    secure: Annotated[
        bool, typer.Option("--secure", help="TLS on every engine, and a user with its own rights for each service.")
    ] = False,
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Make a workspace of the sandbox's figures, and print a key for the dashboard."),
    ] = False,
) -> None:
    """Run everything on this machine: Kafka, registry, ClickHouse and all services."""
    try:
        from infra.embedded.up import main as run
    except ModuleNotFoundError as error:
        exit_with(f"the embedded engines are not installed ({error.name} is missing): pip install 'tidemark[embedded]'")
    left_out = without or ()
    raise typer.Exit(
        run(data_dir, ports=ports, sandbox=sandbox, without=left_out, ready_file=ready_file, secure=secure, demo=demo)
    )


@poller.callback()
def poller_service(context: typer.Context) -> None:
    """Ask the platforms and publish their answers; without a command, run the poller."""
    if context.invoked_subcommand is None:
        _service("services.poller")


@poller.command("backfill")
def poller_backfill(
    workspace: Annotated[str, typer.Option(help="The workspace to ask for.")],
    since: Annotated[
        str, typer.Option(help="Ask for what was published or captured since: 90d, 12h ago, or an ISO instant.")
    ],
    channel: Annotated[str | None, typer.Option(help="Only this channel of the workspace.")] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Begin again instead of going on with a stopped run.")] = False,
) -> None:
    """Have running pollers ask again for a span of time, after their scheduled polls; goes on with a stopped run."""
    from services.poller.requests.backfill_command import run
    from services.poller.requests.backfill_run import BackfillSettings

    usable(BackfillSettings, role="backfill")
    raise typer.Exit(run(workspace, since, channel, anew=anew))


@app.command()
def aggregator() -> None:
    """Map answers and roll them up into ClickHouse and the compacted topics."""
    _service("services.aggregator")


@app.command("query-api")
def query_api() -> None:
    """Answer the five products' insight endpoints."""
    _service("services.query_api")


@app.command()
def notifier() -> None:
    """Tell webhooks what happens, signed, and again until it arrives."""
    _service("services.notifier")


@app.command()
def mcp() -> None:
    """Offer one workspace's figures to a language model's host, as tools of the Model Context Protocol on stdio."""
    _service("services.mcp")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def sandbox(context: typer.Context) -> None:
    """Answer as the platforms do, with numbers that a test can compute. Options: see `tidemark sandbox --help`."""
    run = importlib.import_module("infra.sandbox.__main__").main
    raise typer.Exit(run(context.args))


Services = Annotated[
    list[str] | None, typer.Option("--service", help="Only the rights of this service or command; may be repeated.")
]
Applied = Annotated[bool, typer.Option("--apply", help="Give the rights instead of printing them.")]
Users = Annotated[
    Path | None,
    typer.Option(help="Make the users too, with --apply; FOLDER/<service> keeps each one's secret.", metavar="FOLDER"),
]


@app.command()
def topics(
    acls: Annotated[
        bool, typer.Option("--acls", help="Print the least rights in Kafka of each service, and do nothing else.")
    ] = False,
    apply: Applied = False,
    service: Services = None,
    users: Users = None,
    principal_prefix: Annotated[
        str, typer.Option(help="Put before a service's name to make its principal's, with --acls.")
    ] = "tidemark-",
) -> None:
    """Create and verify topics and register their schemas; safe to run again."""
    if users and not apply:
        exit_with("--users belongs to --acls --apply")
    if acls:
        from services.commands.rights import acls as run_acls

        return run_acls(service or (), principal_prefix, is_applied=apply, users=users)
    if apply or service:
        exit_with("--apply, --users and --service belong to --acls")
    from services.runtime.topics import TopicsError, TopicsSettings, ensure_topics

    settings = usable(TopicsSettings, user="topics")
    try:
        with waiting_for("Kafka and the schema registry"):
            for line in ensure_topics(settings, settings):
                print(line, flush=True)
    except TopicsError as error:
        exit_with(str(error))
    return None


@app.command()
def migrate(
    grants: Annotated[
        bool,
        typer.Option("--grants", help="Print the least rights in ClickHouse of each service, and do nothing else."),
    ] = False,
    apply: Applied = False,
    service: Services = None,
    users: Users = None,
    user_prefix: Annotated[
        str, typer.Option(help="Put before a service's name to make its user's, with --grants.")
    ] = "tidemark_",
    stopped: Annotated[
        bool, typer.Option("--stopped", help="No aggregator runs: Kafka is not asked for those that live.")
    ] = False,
) -> None:
    """Create and upgrade the ClickHouse tables; safe to run again, and by two at once."""
    if users and not apply:
        exit_with("--users belongs to --grants --apply")
    if grants:
        from services.commands.rights import grants as run_grants

        return run_grants(service or (), user_prefix, is_applied=apply, users=users)
    if apply or service:
        exit_with("--apply, --users and --service belong to --grants")
    from services.commands.living import living_aggregators
    from services.runtime.brokers import BrokersUnavailable
    from services.runtime.migrations import MigrationError
    from services.runtime.migrations import migrate as run
    from services.runtime.settings import ClickHouseSettings

    settings = usable(ClickHouseSettings, user="migrate")
    try:
        for line in run(settings, (lambda: ()) if stopped else living_aggregators):
            print(line, flush=True)
    except (MigrationError, BrokersUnavailable) as error:
        exit_with(str(error))
    return None


@app.command()
def audit(
    workspace: Annotated[str | None, typer.Option(help="Only this workspace.")] = None,
    sample: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the tenants, and of large tenants' keys, to look at.")
    ] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Which sample to take; by default another one each hour.")] = None,
    retries: Annotated[int, typer.Option(min=1, max=100, help="How often a number that differs is read again.")] = 5,
    grace_seconds: Annotated[
        float, typer.Option(min=0, max=60, help="Pause before each of these reads, for data in flight.")
    ] = 2.0,
    memory_mb: Annotated[
        int, typer.Option(min=128, help="Most memory that one statement may take in ClickHouse, in MiB.")
    ] = 1024,
) -> None:
    """Recompute every stored number from the snapshots and print what differs; exits 1 when anything does."""
    import time

    from services.aggregator.audit.command import UNUSABLE, run
    from services.aggregator.audit.plan import Sample
    from services.aggregator.audit.run import AuditSettings, Options

    # 1 says that something differs.
    usable(AuditSettings, UNUSABLE, role="audit")
    chosen = Sample(sample, int(time.time() // 3600) if seed is None else seed)
    raise typer.Exit(run(Options(workspace, chosen, retries, grace_seconds, memory_mb)))


@app.command()
def rebuild(
    handover_seconds: Annotated[
        float, typer.Option(min=1, help="How long the partitions' owners may take for the handover.")
    ] = 600,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Go on in the place of a rebuild that runs elsewhere; that one ends.")
    ] = False,
) -> None:
    """Map all raw events anew beside the live numbers, then swap; resumes a rebuild that was stopped."""
    from services.aggregator.audit.run import AuditSettings
    from services.aggregator.rebuild_command import run

    usable(AuditSettings, role="rebuild")
    raise typer.Exit(run(handover_seconds, is_taking_over=take_over))


@app.command()
def status(
    context: typer.Context,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Data folder of a running `tidemark up`; addresses in the environment win over it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
    interval_seconds: Annotated[float, typer.Option(min=0.1, max=60, help="Span over which rates are measured.")] = 2.0,
) -> None:
    """Show what runs, lag, rates, latency, dead letters, tables and memory; exits 1 when anything is not ready."""
    from services.status.command import run

    folder = data_dir or (context.parent.params["data_dir"] if context.parent is not None else Path(".tidemark"))
    raise typer.Exit(run(folder, as_json=as_json, interval_seconds=interval_seconds))


def main() -> None:
    """Entry point of the console script; a wrong option or command ends it with one line that names the mistake."""
    try:
        with stopping.stoppable():
            code = app(standalone_mode=False)
    except ClickException as error:
        message = error.format_message()
        # An empty message means that the help was printed instead.
        sys.exit(error.exit_code) if not message else exit_with(message, error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        exit_with("stopped", stopping.exit_code())
    sys.exit(code)


if __name__ == "__main__":
    main()
