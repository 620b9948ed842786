"""The `tidemark` command: one subcommand a service or a task. Only composition; each body lives elsewhere.

Modules are imported inside the commands, so that `--help` is quick and a service never loads another's packages.
"""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn
from urllib.parse import quote

import httpx
import typer
from typer._click.exceptions import ClickException

from services.runtime.patience import waiting_for
from services.runtime.settings import Loaded, MissingSettingsError, SettingsError, exit_with

app = typer.Typer(
    name="tidemark",
    help="Analytics backend for social publishing products, on Kafka and ClickHouse.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
keys = typer.Typer(help="Make and revoke API keys, through the admin API.", no_args_is_help=True)
catalog = typer.Typer(help="Write channels and posts, through the admin API.", no_args_is_help=True)
poller = typer.Typer(help="Ask the platforms and publish their answers.", invoke_without_command=True)
dead_letters = typer.Typer(help="Look at raw events that could not be mapped.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(catalog, name="catalog")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(poller, name="poller")
platforms = typer.Typer(help="See what a platform takes of us.", no_args_is_help=True)
app.add_typer(platforms, name="platforms")

ApiUrl = Annotated[
    str, typer.Option("--api", envvar="TIDEMARK_QUERY_API_URL", help="Origin of the query API.", show_default=True)
]
AdminKey = Annotated[str, typer.Option("--admin-key", envvar="TIDEMARK_ADMIN_KEY", help="The admin key.")]
# For one call of the admin API: many catalog lines take their time.
_ADMIN_SECONDS = 120.0
_CONNECT_SECONDS = 5.0
_SCOPES = ("analytics:read", "webhooks:write")
_LOCAL = "http://127.0.0.1:8080"
# They begin or describe an installation, so that a running one tells them nothing.
_STANDING_ALONE = frozenset({"up", "sandbox", "poller", "aggregator", "query-api"})


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
        typer.Option(help="Of a running `tidemark up` that commands work with, unless the environment says where."),
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
        if context.invoked_subcommand not in _STANDING_ALONE or "backfill" in sys.argv[1:]:
            os.environ.update(adopted(data_dir, {**read_dotenv(Path(".env")), **os.environ}))
    except SettingsError as error:
        exit_with(str(error))


def _usable(kind: type[Loaded], unusable: int = 1) -> Loaded:
    """Settings whose neighbours answer; else the command ends with one line for each that can't be used.

    Args:
        unusable: exit code then.
    """
    from services.runtime.neighbours import problems

    try:
        settings = kind.load()
    except MissingSettingsError as error:
        exit_with(
            f"{error}; set what is missing, or run this in the folder of a running `tidemark up` (see --data-dir)"
        )
    except SettingsError as error:
        exit_with(str(error))
    found = problems(settings)
    for problem in found[:-1]:
        print(f"tidemark: {problem.text}", file=sys.stderr)
    if found:
        exit_with(found[-1].text, unusable)
    return settings


def _service(module: str) -> NoReturn:
    """Replace this process by a service, so that signals and exit codes are the service's own."""
    os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606 - our own module


@app.command()
def up(
    data_dir: Annotated[Path, typer.Option(help="Holds every byte of state; a second run resumes it.")] = Path(
        ".tidemark"
    ),
    ports: Annotated[Literal["auto", "default"], typer.Option(help="The usual ports, or free ones.")] = "default",
    sandbox: Annotated[bool, typer.Option(help="Poll the built-in sandbox instead of the real platforms.")] = True,
    without: Annotated[list[str] | None, typer.Option(help="Leave a service out; may be repeated.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Write addresses and pids here when all is ready.")] = None,
) -> None:
    """Run everything on this machine: Kafka, registry, ClickHouse and all services."""
    from infra.embedded.up import main as run

    raise typer.Exit(run(data_dir, ports=ports, sandbox=sandbox, without=without or (), ready_file=ready_file))


@poller.callback()
def poller_service(context: typer.Context) -> None:
    """Ask the platforms and publish their answers; without a command, run the poller."""
    if context.invoked_subcommand is None:
        _service("services.poller")


@poller.command("backfill")
def poller_backfill(
    workspace: Annotated[str, typer.Option(help="The workspace.")],
    since: Annotated[
        str, typer.Option(help="Ask for what was published or captured since: 90d, 12h ago, or an ISO instant.")
    ],
    channel: Annotated[str | None, typer.Option(help="Only this channel of it.")] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Begin again, whatever a stopped run has done.")] = False,
) -> None:
    """Have running pollers ask again for a span, after their scheduled polls; goes on with a run that was stopped."""
    from services.poller.requests.backfill_command import run
    from services.poller.requests.backfill_run import BackfillSettings

    _usable(BackfillSettings)
    raise typer.Exit(run(workspace, since, channel, anew=anew))


@platforms.command("check")
def platforms_check(
    platform: Annotated[str, typer.Option(help="The platform's name, such as instagram.")],
    channel: Annotated[
        str, typer.Option(help="The channel; with a token given here, the platform's id of the account.")
    ],
    workspace: Annotated[str | None, typer.Option(help="The channel's workspace; by default all are searched.")] = None,
    post: Annotated[
        list[str] | None, typer.Option(help="The platform's id of a post to ask for; may be repeated.")
    ] = None,
    post_type: Annotated[str, typer.Option(help="Of these posts, such as instagram-reel.")] = "",
    token_file: Annotated[
        Path | None, typer.Option(help="Holds an access token; then no catalog is needed. Or TIDEMARK_CHECK_TOKEN.")
    ] = None,
) -> None:
    """Make one of each call for a channel and print what works, what is refused, and what mends it; exits 1 then."""
    from services.poller.requests.check_command import TOKEN_VARIABLE, Wanted, run

    if token_file is None and not os.environ.get(TOKEN_VARIABLE):
        from services.poller.requests.check_catalog import CheckSettings

        _usable(CheckSettings)
    raise typer.Exit(run(Wanted(platform, channel, workspace, post or (), post_type, token_file)))


@app.command()
def aggregator() -> None:
    """Map answers and roll them up into ClickHouse and the compacted topics."""
    _service("services.aggregator")


@app.command("query-api")
def query_api() -> None:
    """Answer the five products' insight endpoints."""
    _service("services.query_api")


@app.command()
def mcp() -> None:
    """Offer one workspace's figures to a language model's host, as tools of the Model Context Protocol on stdio."""
    _service("services.mcp")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def sandbox(context: typer.Context) -> None:
    """Answer as the platforms do, with numbers that can be computed. Options: see `tidemark sandbox --help`."""
    run = importlib.import_module("infra.sandbox.__main__").main
    raise typer.Exit(run(context.args))


@app.command()
def topics() -> None:
    """Create and verify topics and register their schemas; safe to run again."""
    from services.runtime.topics import TopicsError, TopicsSettings, ensure_topics

    settings = _usable(TopicsSettings)
    try:
        with waiting_for("Kafka and the schema registry"):
            for line in ensure_topics(settings, settings):
                print(line, flush=True)
    except TopicsError as error:
        exit_with(str(error))


@app.command()
def migrate() -> None:
    """Create and upgrade the ClickHouse tables; safe to run again, and by two at once."""
    from services.runtime.migrations import MigrationError
    from services.runtime.migrations import migrate as run
    from services.runtime.settings import ClickHouseSettings

    settings = _usable(ClickHouseSettings)
    try:
        for line in run(settings):
            print(line, flush=True)
    except MigrationError as error:
        exit_with(str(error))


@app.command()
def audit(
    workspace: Annotated[str | None, typer.Option(help="Only this workspace.")] = None,
    sample: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the tenants, and of large tenants' keys, to look at.")
    ] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Which sample; another one each hour unless given.")] = None,
    retries: Annotated[int, typer.Option(min=1, max=100, help="How often what differs is read again.")] = 5,
    grace_seconds: Annotated[float, typer.Option(min=0, max=60, help="Pause before each, for data in flight.")] = 2.0,
    memory_mb: Annotated[int, typer.Option(min=128, help="Most that a statement may take of ClickHouse.")] = 1024,
) -> None:
    """Recompute every stored number from the snapshots and print what differs; exits 1 when anything does."""
    import time

    from services.aggregator.audit.command import UNUSABLE, run
    from services.aggregator.audit.plan import Sample
    from services.aggregator.audit.run import AuditSettings, Options

    # 1 says that something differs.
    _usable(AuditSettings, UNUSABLE)
    chosen = Sample(sample, int(time.time() // 3600) if seed is None else seed)
    raise typer.Exit(run(Options(workspace, chosen, retries, grace_seconds, memory_mb)))


@app.command()
def rebuild(
    handover_seconds: Annotated[float, typer.Option(min=1, help="How long partition owners may take.")] = 600,
) -> None:
    """Map all raw events anew beside the live numbers, then swap; resumes a rebuild that was stopped."""
    from services.aggregator.audit.run import AuditSettings
    from services.aggregator.rebuild_command import run

    _usable(AuditSettings)
    raise typer.Exit(run(handover_seconds))


@app.command()
def status(
    context: typer.Context,
    data_dir: Annotated[
        Path | None, typer.Option(help="Of a running `tidemark up`; the environment wins over it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
    interval_seconds: Annotated[float, typer.Option(min=0.1, max=60, help="Rates are taken over this long.")] = 2.0,
) -> None:
    """Show what runs, lag, rates, latency, dead letters, tables and memory; exits 1 when anything is not ready."""
    from services.status.command import run

    folder = data_dir or (context.parent.params["data_dir"] if context.parent is not None else Path(".tidemark"))
    raise typer.Exit(run(folder, as_json=as_json, interval_seconds=interval_seconds))


@keys.command("create")
def keys_create(
    workspace: Annotated[str, typer.Argument(help="The workspace that the key opens.")],
    admin_key: AdminKey,
    api: ApiUrl = _LOCAL,
    style: Annotated[
        str, typer.Option(help="postme, powerpost, postfuze, postflow, openpost or tidemark.")
    ] = "tidemark",
    scope: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
) -> None:
    """Make a key and print it; it is shown this once."""
    if not workspace:
        exit_with("the workspace has no name; keys are made for a workspace such as acme")
    if unknown := sorted(set(scope or ()) - set(_SCOPES)):
        exit_with(f"--scope {unknown[0]}: no such scope; there are {', '.join(_SCOPES)}")
    if not _admin("GET", api, admin_key, _workspace(workspace)).json()["channels"]:
        print(
            f"tidemark: the workspace {workspace} has no channels yet; the key opens it all the same", file=sys.stderr
        )
    body: dict[str, object] = {"scopes": scope or ["analytics:read"], "style": style}
    made = _admin("POST", api, admin_key, f"{_workspace(workspace)}/keys", body=body).json()
    print(f"{made['id']}\t{made['key']}")


@keys.command("list")
def keys_list(
    workspace: Annotated[str, typer.Argument(help="The workspace.")], admin_key: AdminKey, api: ApiUrl = _LOCAL
) -> None:
    """Print id, time, style and scopes of each key of a workspace; the keys themselves are stored nowhere."""
    held = _admin("GET", api, admin_key, _workspace(workspace)).json()["keys"]
    for key in held:
        print("\t".join((key["id"], key["created_at"], key["style"], ",".join(key["scopes"]))))
    if not held:
        print(f"the workspace {workspace} has no keys", file=sys.stderr)


@keys.command("revoke")
def keys_revoke(
    workspace: Annotated[str, typer.Argument(help="The key's workspace.")],
    key_id: Annotated[str, typer.Argument(help="The key's id, not the key.")],
    admin_key: AdminKey,
    api: ApiUrl = _LOCAL,
) -> None:
    """Revoke a key everywhere within 5 s."""
    _admin("DELETE", api, admin_key, f"{_workspace(workspace)}/keys/{key_id}")
    print(f"revoked {key_id}")


@catalog.command("apply")
def catalog_apply(
    file: Annotated[
        typer.FileBinaryRead, typer.Argument(help="NDJSON, one channel or post a line; - reads standard input.")
    ],
    admin_key: AdminKey,
    api: ApiUrl = _LOCAL,
) -> None:
    """Write many channels and posts; prints each rejected line and exits 1 when there is one."""
    lines = file.read()
    answer = _admin("POST", api, admin_key, "/admin/v1/catalog", content=lines).json()
    print(f"accepted {answer['accepted']}, rejected {len(answer['rejected'])}")
    for rejected in answer["rejected"]:
        print(f"line {rejected['line']}: {rejected['error']}", file=sys.stderr)
    for workspace, named in _channels_named(lines).items():
        known = _admin("GET", api, admin_key, _workspace(workspace)).json()["channels"]
        for channel in sorted(named - {held["channel_id"] for held in known}):
            print(
                f"tidemark: a post of {workspace} names the channel {channel}, which the catalog does not hold; the "
                "target is not polled until the channel is written",
                file=sys.stderr,
            )
    raise typer.Exit(1 if answer["rejected"] else 0)


def _channels_named(lines: bytes) -> dict[str, set[str]]:
    """The channels that the posts among catalog lines name, by workspace; lines that can't be read are passed over."""
    found: dict[str, set[str]] = {}
    for line in lines.splitlines():
        try:
            written = json.loads(line)
            if written["type"] == "post":
                named = {target["channel_id"] for target in written.get("targets", [])}
                found.setdefault(written["workspace_id"], set()).update(named)
        except (ValueError, KeyError, TypeError):
            continue  # the answer names such a line
    return found


@catalog.command("export")
def catalog_export(workspace: Annotated[str | None, typer.Option(help="Only this workspace.")] = None) -> None:
    """Print all channels and posts as the lines that `catalog apply` reads; tokens are left out."""
    from services.aggregator.catalog_export import ExportSettings, exported
    from services.aggregator.topic_reader import TopicUnreadable
    from services.runtime.registry import RegistryUnavailable

    settings = _usable(ExportSettings)
    try:
        for line in exported(settings, workspace):
            print(json.dumps(line, ensure_ascii=False))
    except (TopicUnreadable, RegistryUnavailable) as error:
        exit_with(str(error), 1)


@catalog.command("delete")
def catalog_delete(
    workspace: Annotated[str, typer.Argument(help="The workspace.")],
    admin_key: AdminKey,
    channel: Annotated[list[str] | None, typer.Option(help="A channel's id; may be repeated.")] = None,
    post: Annotated[list[str] | None, typer.Option(help="A post's id; may be repeated.")] = None,
    api: ApiUrl = _LOCAL,
) -> None:
    """Delete channels and posts: they read 404 everywhere, and a later write restores them with their history."""
    if not channel and not post:
        exit_with("say what to delete: --channel ID or --post ID (both may be repeated)")
    for kind, ids in (("channels", channel), ("posts", post)):
        for own_id in ids or ():
            _admin("DELETE", api, admin_key, f"{_workspace(workspace)}/{kind}/{quote(own_id, safe='')}")
            print(f"deleted {own_id}")


Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only this reason; may be repeated.")]
OfWorkspace = Annotated[str | None, typer.Option("--workspace", help="Only this workspace.")]
Since = Annotated[str | None, typer.Option(help="Failed since: 15m, 2h, 3d ago, or an ISO instant.")]


@dead_letters.command("list")
def dead_letters_list(
    reason: Reasons = None,
    workspace: OfWorkspace = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The newest this many.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print time, origin, workspace, reason and detail of each dead letter, oldest first."""
    from services.aggregator.dead_letter_commands import DeadLetterSettings, list_letters, make_filter

    _usable(DeadLetterSettings)
    list_letters(make_filter(reason, workspace, since), limit, as_json=as_json)


@dead_letters.command("show")
def dead_letters_show(
    origin: Annotated[str, typer.Argument(help="topic/partition/offset, as `list` prints it.")],
) -> None:
    """Print one dead letter with its payload, anything like a token blanked."""
    from services.aggregator.dead_letter_commands import DeadLetterSettings, show

    _usable(DeadLetterSettings)
    raise typer.Exit(show(origin))


@dead_letters.command("redrive")
def dead_letters_redrive(
    reason: Reasons = None,
    every_reason: Annotated[bool, typer.Option("--every-reason", help="Whatever the reason.")] = False,
    workspace: OfWorkspace = None,
    since: Since = None,
    dry_run: Annotated[bool, typer.Option(help="Only say how many there are.")] = False,
) -> None:
    """After a fix: send the messages of dead letters to platform.raw again, in order; safe to repeat."""
    from services.aggregator.dead_letter_commands import DeadLetterSettings, make_filter, redrive

    _usable(DeadLetterSettings)
    if bool(reason) == every_reason:
        exit_with("say which reasons: --reason REASON (may be repeated), or --every-reason")
    raise typer.Exit(redrive(make_filter(reason, workspace, since), is_dry=dry_run))


def _workspace(workspace_id: str) -> str:
    return f"/admin/v1/workspaces/{quote(workspace_id, safe='')}"


def _admin(
    method: str,
    api: str,
    admin_key: str,
    path: str,
    *,
    body: dict[str, object] | None = None,
    content: bytes | None = None,
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {admin_key}"}
    timeouts = httpx.Timeout(_ADMIN_SECONDS, connect=_CONNECT_SECONDS)
    try:
        with waiting_for(f"the query API at {api}"):
            reply = httpx.request(
                method, api.rstrip("/") + path, json=body, content=content, headers=headers, timeout=timeouts
            )
    except httpx.HTTPError as error:
        exit_with(f"the query API can't be reached at {api} ({error}); set TIDEMARK_QUERY_API_URL or --api", 1)
    if reply.is_error:
        try:
            said = reply.json().get("message", reply.reason_phrase)
        except ValueError:
            said = reply.reason_phrase
        exit_with(f"the query API answered {reply.status_code}: {said}", 1)
    return reply


def main() -> None:
    """Entry point of the console script: what can't be meant is refused in one line that names it."""
    try:
        code = app(standalone_mode=False)
    except ClickException as error:
        message = error.format_message()
        # Without arguments the help was printed, and that is all there is to say.
        sys.exit(error.exit_code) if not message else exit_with(message, error.exit_code)
    except typer.Abort:
        exit_with("stopped", 130)
    sys.exit(code)


if __name__ == "__main__":
    main()
