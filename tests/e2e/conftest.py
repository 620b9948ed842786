"""Running Tidemarks for the end-to-end tests, started as an operator starts them: two that several files share.

They end with the folder's last test, and don't poll while other folders are tested.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.full_disk import SmallDisk, small_disk
from tests.support.processes import together
from tests.support.tidemark import Tidemark

TWELFTH = Path(__file__).parents[1] / "support" / "twelfth"
SHARED = ("tidemark", "second_tidemark")
# What ClickHouse keeps free, and room for some minutes of everything.
MEBIBYTES = 1536
# The README's command, which runs in a folder with `.venv` and takes the data folder `.tidemark`.
UP = ".venv/bin/tidemark up --ready-file ready.json"
# What the caller of the second one has in the environment.
OF_THE_CALLER = {
    "TIDEMARK_X_CLIENT_SECRET": "x-client-secret-1",
    "AWS_SECRET_ACCESS_KEY": "aws-secret-1",
    # The sandbox is told no secret of a caller's app: only where the platform itself is asked does the poller know it.
    "TIDEMARK_X_BASE_URL": "http://127.0.0.1:9",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a running Tidemark stay in one process of the test run, so that only one is started."""
    for item in items:
        for name in SHARED:
            if name in getattr(item, "fixturenames", ()) and together(item.nodeid) != name:
                raise pytest.UsageError(f"{item.nodeid} uses {name}: name its file in tests/support/processes.py")


def _require_embedded(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--engines") != "embedded":
        pytest.skip("runs `tidemark up`, which has engines of its own: --engines=embedded only")


@pytest.fixture(scope="package")
def tidemark(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tidemark]:
    """`tidemark up` with the sandbox, polling sixty times as often as in production."""
    _require_embedded(request)
    # On a busy machine a test that opens a thousand connections sends on the first of them many seconds later.
    patient = {"TIDEMARK_POLL_SPEED": "60", "TIDEMARK_HTTP_HEAD_SECONDS": "60"}
    # Receivers of webhooks are on this machine.
    patient["TIDEMARK_WEBHOOKS_ALLOW_PRIVATE"] = "1"
    running = Tidemark(tmp_path_factory.mktemp("up"), patient)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def secure_tidemark(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tidemark]:
    """`tidemark up --secure` with the sandbox."""
    _require_embedded(request)
    running = Tidemark(
        tmp_path_factory.mktemp("secure"), {"TIDEMARK_POLL_SPEED": "60", "TIDEMARK_WEBHOOKS_ALLOW_PRIVATE": "1"}
    )
    running.start("--secure")
    yield running
    running.stop()


@pytest.fixture(scope="package")
def platforms_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside the project with one more platform."""
    made = tmp_path_factory.mktemp("platforms")
    shutil.copytree(TWELFTH, made, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return made


@pytest.fixture(scope="package")
def second_disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk | None]:
    """A file system that the second one has for itself, to be filled; None where none can be mounted."""
    _require_embedded(request)
    with small_disk(tmp_path_factory.mktemp("second-disk"), MEBIBYTES) as made:
        yield made


@pytest.fixture(scope="package")
def second_tidemark(
    tmp_path_factory: pytest.TempPathFactory, platforms_folder: Path, second_disk: SmallDisk | None
) -> Iterator[Tidemark]:
    """`tidemark up` as the README starts it, which was told of one more platform, on a data folder that an earlier
    version left open to everybody.

    Its caller's TMPDIR is the folder `outside` beside the data. Everything is on the small disk where there is one.
    """
    folder = tmp_path_factory.mktemp("second") if second_disk is None else second_disk.folder
    data = folder / ".tidemark"
    (data / "logs").mkdir(parents=True)
    (data / "logs" / "poller.log").write_text("of an earlier run\n")
    for path in (data, data / "logs"):
        path.chmod(0o755)
    (data / "logs" / "poller.log").chmod(0o644)
    key = folder / "admin-key"
    key.write_text("admin-key-of-a-file\n")
    key.chmod(0o600)
    outside = folder / "outside"
    outside.mkdir()
    its = {
        "TIDEMARK_ADMIN_KEY_FILE": str(key),
        "TMPDIR": str(outside),
        "TIDEMARK_PLATFORMS_PATH": str(platforms_folder),
    }
    running = Tidemark(folder, {**OF_THE_CALLER, **its}, data=data.name)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    running.start_by(["/bin/sh", "-c", f"exec {UP} --ports auto"], folder=folder)
    yield running
    running.stop()
