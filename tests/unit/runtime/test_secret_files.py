"""Files of secrets that others may read are refused, except where Kubernetes and systemd put them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.configuration import SERVICES
from services.query_api.settings import QueryApiSettings
from services.runtime.secret_files import is_private_mount
from services.runtime.settings import SettingsError, secret_names

MOUNTS = """\
22 1 0:20 / / rw,relatime - overlay overlay rw
30 22 0:30 / /tmp rw,nosuid - tmpfs tmpfs rw
31 22 0:31 / /etc/tidemark/secrets ro,relatime - tmpfs tmpfs rw,size=65536k
32 22 0:32 / /run/credentials/tidemark\\040poller.service ro,nosuid - ramfs ramfs rw
33 22 8:1 /var/secrets /var/secrets ro,relatime - ext4 /dev/sda1 rw
34 31 0:34 / /etc/tidemark/secrets/over rw,relatime - tmpfs tmpfs rw
""".splitlines()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("TIDEMARK_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDEMARK_KAFKA_BOOTSTRAP", "127.0.0.1:9092")
    monkeypatch.setenv("TIDEMARK_SCHEMA_REGISTRY_URL", "http://127.0.0.1:8081/")
    monkeypatch.setenv("TIDEMARK_CLICKHOUSE_URL", "http://default@127.0.0.1:8123/tidemark")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own folders are closed to others."""
    made = Path(tempfile.mkdtemp(dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("place", ["a file", ".env"])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o604])
def test_a_secret_that_everybody_may_read_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, open_folder: Path, place: str, mode: int
) -> None:
    monkeypatch.chdir(open_folder)
    path = open_folder / ("secret" if place == "a file" else ".env")
    path.write_text("sesame-open" if place == "a file" else "TIDEMARK_ADMIN_KEY=sesame-open\n")
    path.chmod(mode)
    if place == "a file":
        monkeypatch.setenv("TIDEMARK_ADMIN_KEY_FILE", str(path))
    if mode & 0o004:
        with pytest.raises(SettingsError, match=r"everybody .*TIDEMARK_ADMIN_KEY.*chmod 600") as refused:
            QueryApiSettings.load()
        assert "sesame" not in str(refused.value)
    else:
        assert QueryApiSettings.load().admin_key is not None


@pytest.mark.parametrize(
    ("service", "name"), [(service, name) for service in SERVICES for name in sorted(secret_names(SERVICES[service]))]
)
def test_each_service_refuses_each_secret_that_everybody_may_read(
    monkeypatch: pytest.MonkeyPatch, open_folder: Path, service: str, name: str
) -> None:
    path = open_folder / "secret"
    path.write_text("sesame-open")
    path.chmod(0o644)
    monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(f"{name}_FILE", str(path))
    with pytest.raises(SettingsError, match=rf"everybody .*{name}.*chmod 600"):
        SERVICES[service].load()


def test_a_link_is_judged_by_the_file_behind_it(monkeypatch: pytest.MonkeyPatch, open_folder: Path) -> None:
    (open_folder / "held").write_text("sesame-open")
    (open_folder / "held").chmod(0o600)
    (open_folder / "link").symlink_to(open_folder / "held")
    monkeypatch.setenv("TIDEMARK_ADMIN_KEY_FILE", str(open_folder / "link"))
    assert QueryApiSettings.load().admin_key is not None
    (open_folder / "held").chmod(0o644)
    with pytest.raises(SettingsError, match="everybody"):
        QueryApiSettings.load()


def test_a_closed_folder_keeps_its_files_from_others(monkeypatch: pytest.MonkeyPatch, open_folder: Path) -> None:
    (open_folder / "secret").write_text("sesame-open")
    (open_folder / "secret").chmod(0o644)
    open_folder.chmod(0o700)
    monkeypatch.setenv("TIDEMARK_ADMIN_KEY_FILE", str(open_folder / "secret"))
    assert QueryApiSettings.load().admin_key is not None


@pytest.mark.parametrize(
    ("path", "is_private"),
    [
        ("/etc/tidemark/secrets/..data/admin-key", True),
        ("/run/credentials/tidemark poller.service/secret-keys", True),
        ("/tmp/secret", False),
        ("/var/secrets/key", False),
        ("/etc/tidemark/other", False),
        ("/etc/tidemark/secrets/over/key", False),
    ],
)
def test_only_read_only_file_systems_in_memory_are_a_services_own(path: str, *, is_private: bool) -> None:
    assert is_private_mount(Path(path), MOUNTS) is is_private
