"""`tidemark up`: every service on the embedded engines, in one data folder, until Ctrl-C.

Comes in: the command's options. Goes out: an exit code, the ready-file, and the addresses on stderr. Every expected
failure (a taken port, an unwritable folder, a full disk, no network at the first start, a service that cannot run)
ends in one line that says what to do.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shlex
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from infra.embedded import artifacts, demo_workspace
from infra.embedded.class_archives import Making
from infra.embedded.composition import ENGINES, LASTING, NAMES, Plan, ports_needed
from infra.embedded.console import say
from infra.embedded.datadir import DataDir, write_atomically
from infra.embedded.disk import Disk
from infra.embedded.display import display_for
from infra.embedded.environment import environment_of, with_secrets_read
from infra.embedded.errors import DataDirError, EmbeddedError, UsageError
from infra.embedded.logs import Logs
from infra.embedded.secured import Secured, refuse_unsecured
from infra.embedded.supervisor import Supervisor
from services.configuration import check_services
from services.platforms import SETTING, PlatformFileError, all_platforms
from services.runtime.environment import read_dotenv
from services.runtime.settings import ENV_PREFIX, SettingsError

Ports = Literal["auto", "default"]
INTERRUPTED = 130
CACHE_SETTING = "TIDEMARK_CACHE_DIR"


def main(
    data_dir: Path = Path(".tidemark"),
    *,
    ports: Ports = "default",
    sandbox: bool = False,
    without: Sequence[str] = (),
    ready_file: Path | None = None,
    secure: bool = False,
    demo: bool = False,
) -> int:
    """Run until a signal; blocks, and must be called in the main thread.

    Args:
        data_dir: folder for all state; a second run on the same folder resumes.
        without: names of services to leave out, with hyphens or underscores.
        secure: TLS on every engine, and a user with no more than its rights for each service.
        demo: make a workspace of the sandbox's figures, and print its key.

    Returns:
        0 after a clean stop, 130 when interrupted before anything ran, 1 after a failure that was explained in one
        line on stderr.
    """
    if threading.current_thread() is threading.main_thread():
        # Until the supervisor takes the signals over, SIGTERM ends the same way as Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Services inherit the mask: no other user of this machine may read their files.
    umask = os.umask(0o077)
    try:
        with DataDir(data_dir) as folder:
            _run(folder, _names(sandbox, without), ports, ready_file, is_secure=secure, is_shown=demo)
    except KeyboardInterrupt:
        say("tidemark: interrupted")
        return INTERRUPTED
    except (EmbeddedError, SettingsError) as error:
        say(f"tidemark: {error}")
        return 1
    except OSError as error:
        say(f"tidemark: {_explain(error, data_dir)}")
        return 1
    finally:
        os.umask(umask)
    return 0


def inherited_environment() -> dict[str, str]:
    """This process's environment, completed with the settings of `.env`; the environment wins."""
    return {**read_dotenv(Path(".env")), **os.environ}


def _run(
    folder: DataDir,
    names: frozenset[str],
    ports: Ports,
    ready_file: Path | None,
    *,
    is_secure: bool,
    is_shown: bool,
) -> None:
    if is_shown and (missing := [name for name in ("sandbox", "query_api") if name not in names]):
        raise UsageError(f"--demo needs the {missing[0]}: leave out --demo, or what leaves out the {missing[0]}")
    if ready_file is not None:
        _clear(ready_file)
    try:
        inherited = with_secrets_read(inherited_environment())
    except SettingsError as error:
        raise UsageError(str(error)) from None
    if "clickhouse" in names and inherited.get("TIDEMARK_CLICKHOUSE_CLUSTER"):
        raise UsageError(
            "TIDEMARK_CLICKHOUSE_CLUSTER is set, but the embedded ClickHouse is a single server: unset it, "
            "or use --without clickhouse with TIDEMARK_CLICKHOUSE_URL"
        )
    try:
        all_platforms()
    except PlatformFileError as error:
        raise UsageError(f"{SETTING}: {error}") from error
    secured = _secured(folder.path, names) if is_secure else None
    if secured is None:
        refuse_unsecured(folder.path)
    chosen = folder.ports(ports_needed(names), usual=ports == "default")
    plan = Plan(folder.path, names, chosen, folder.secrets(), inherited, secured=secured)
    # Checked before engines are fetched or started, so that a wrong setting of any service is one line. Settings that
    # the plan replaces, such as a port, are checked too: they would be wrong wherever else they are used.
    told = {name: value for name, value in inherited.items() if name.startswith(ENV_PREFIX) and value}
    check_services({**plan.checked_environment(), **told}, names)
    engines = [name for name in (artifacts.KAFKA, artifacts.REGISTRY) if name in names]
    if engines:
        artifacts.ensure(*engines)
    services = plan.services()
    folder.note_running(plan.running_document(), plan.scrape_targets())

    def on_pids(pids: Mapping[str, int]) -> None:
        if ready_file is not None:
            document = json.dumps(plan.ready_document(pids), indent=2) + "\n"
            write_atomically(ready_file, document, mode=0o600)

    archives = Making(engines, _of_makers(inherited))

    def on_ready() -> None:
        _print_addresses(plan, folder, is_shown=is_shown)
        if is_shown and plan.query_api_url is not None:
            demo_workspace.show(folder.path, plan.query_api_url, plan.admin_key)
        archives.begin()

    supervisor = Supervisor(
        services,
        logs=Logs(folder.logs),
        display=display_for([service.name for service in services]),
        on_pids=on_pids,
        on_ready=on_ready,
        disk=Disk(folder.path),
    )
    try:
        with archives:
            asyncio.run(supervisor.run())
    finally:
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)


def _of_makers(inherited: Mapping[str, str]) -> dict[str, str]:
    """What the process that makes class archives is told: what an engine is, and where the cache is."""
    told = environment_of(artifacts.KAFKA, inherited)
    return {**told, CACHE_SETTING: str(artifacts.cache_dir().absolute())}


def _secured(data: Path, names: frozenset[str]) -> Secured:
    if missing := [name for name in ENGINES if name not in names]:
        raise UsageError(f"--secure makes the users of all engines: leave out --without {missing[0]}, or --secure")
    return Secured(data)


def _names(sandbox: bool, without: Sequence[str]) -> frozenset[str]:
    left_out = {name.replace("-", "_") for name in without}
    if unknown := left_out - set(NAMES):
        raise UsageError(f"--without {sorted(unknown)[0]}: no such service; there are {', '.join(NAMES)}")
    if not sandbox:
        left_out.add("sandbox")
    return frozenset(NAMES) - left_out


def _clear(ready_file: Path) -> None:
    """Remove an earlier run's ready-file, and fail now if the file could not be written later."""
    try:
        write_atomically(ready_file, "")
        ready_file.unlink()
    except OSError as error:
        raise DataDirError(f"cannot write {ready_file} ({error.strerror}): choose another --ready-file") from error


def _print_addresses(plan: Plan, folder: DataDir, *, is_shown: bool) -> None:
    rows = [
        ("query API", plan.query_api_url),
        ("in a browser", f"{plan.query_api_url}/" if plan.query_api_url is not None else None),
        ("dashboard", f"{plan.query_api_url}/app" if plan.query_api_url is not None else None),
        ("operator's page", f"{plan.query_api_url}/ops" if plan.query_api_url is not None else None),
        ("Kafka", plan.kafka_bootstrap),
        ("schema registry", plan.schema_registry_shown),
        ("ClickHouse", plan.clickhouse_origin),
        ("sandbox", plan.sandbox_url),
        ("admin key, passwords", str(folder.secrets_path)),
        ("users, certificates", str(plan.secured.folder) if plan.secured is not None else None),
        ("logs", str(folder.logs)),
    ]
    say("")
    for title, value in rows:
        if value is not None:
            say(f"  {title:<21} {value}")
    left_out = [name for name in LASTING if name not in plan.names]
    if left_out:
        say(f"  {'left out':<21} {', '.join(left_out)}")
    for line in (*platforms_asked(plan), *(() if is_shown else dashboard_opened(plan))):
        say(line)
    say("\ntidemark is ready; press Ctrl-C to stop")


def platforms_asked(plan: Plan) -> list[str]:
    """Lines for a person that say which platforms the poller asks: the sandbox, or the real ones."""
    own = [name for name in all_platforms() if plan.inherited.get(f"TIDEMARK_{name.upper()}_BASE_URL")]
    lines = []
    if plan.sandbox_url is None:
        lines.append("\n  Platforms: the real ones, with the channels' own tokens.")
    else:
        lines += [
            "\n  Platforms: the built-in sandbox, with made-up figures, and only for channels whose access token",
            "  begins with sandbox- (`tidemark sandbox channel` prints some). --no-sandbox asks the real ones.",
        ]
    if own:
        lines.append(f"  Asked for every channel, at their TIDEMARK_<PLATFORM>_BASE_URL: {', '.join(own)}.")
    return lines


def dashboard_opened(plan: Plan) -> list[str]:
    """Lines for a person that say how to get a key for the dashboard, and where there is a sandbox, something to see.

    A workspace is made only by who asks for it: the lines are commands, and nothing is made here.
    """
    if plan.query_api_url is None:
        return []
    tidemark = "tidemark" if plan.folder.name == ".tidemark" else f"tidemark --data-dir {shlex.quote(str(plan.folder))}"
    lines = ["\n  The dashboard takes an API key of one workspace. In another shell:"]
    if plan.sandbox_url is not None:
        lines += [
            f"    {tidemark} sandbox channel instagram --workspace demo --posts 20 > demo.ndjson",
            f"    {tidemark} catalog apply demo.ndjson     # a workspace with made-up figures",
        ]
    workspace = "demo" if plan.sandbox_url is not None else "WORKSPACE"
    lines.append(f"    {tidemark} keys create {workspace}           # prints the key, this once")
    return lines


def _explain(error: OSError, data_dir: Path) -> str:
    where = error.filename or data_dir
    if error.errno == errno.ENOSPC:
        return f"the disk of {where} is full: free some space, or choose another --data-dir"
    return f"cannot use {where} ({error.strerror or error}): check its permissions, or choose another --data-dir"


__all__ = ["inherited_environment", "main"]
