"""Maven through jgo, the only importer of it: resolve pinned coordinates, download one locked file.

Repositories are jgo's built-in default and those of the user's jgo configuration file; none is named here.
Source: `jgo.maven` 3.2. The downloader of jgo writes straight into its repository folder, so each download gets a
folder of its own, and a file counts only once its SHA-256 is right.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL, default_maven_repo
from jgo.maven import MavenContext, PythonResolver

from infra.embedded.errors import ArtifactError
from infra.embedded.lockfile import LockedFile
from infra.embedded.transfer import TransferCancelled

REQUEST_TIMEOUT_SECONDS = 30
ATTEMPTS = 3
RETRY_PAUSE_SECONDS = 1.0
HASH_CHUNK_BYTES = 1024 * 1024
OFFLINE_HELP = (
    "the first start needs the network: connect it and start again, "
    "or copy a filled cache folder here and point TIDEMARK_CACHE_DIR to it"
)

CountBytes = Callable[[int], None]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def matches(path: Path, wanted: LockedFile) -> bool:
    """Whether a file exists with exactly the locked content."""
    return path.is_file() and path.stat().st_size == wanted.size_bytes and sha256_of(path) == wanted.sha256


def download(wanted: LockedFile, target: Path, count_bytes: CountBytes, scratch: Path) -> None:
    """Bring one locked file to `target`: from the user's local Maven repository, or over the network.

    Args:
        count_bytes: called with each number of bytes that arrived, from this thread.
        scratch: an existing folder on the same disk as `target`, for partial files.

    Raises:
        ArtifactError: no attempt succeeded; the message says what to do.
    """
    local = default_maven_repo() / wanted.maven_path
    if matches(local, wanted):
        shutil.copyfile(local, target)
        count_bytes(wanted.size_bytes)
        return
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(RETRY_PAUSE_SECONDS * attempt)
        counter = _Counter(count_bytes)
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            try:
                fetched = _fetch(wanted, Path(folder), counter)
            except requests.RequestException as error:
                reason = f"no answer ({type(error).__name__}); {OFFLINE_HELP}"
            except RuntimeError:
                reason = "no configured Maven repository has it"
            else:
                if matches(fetched, wanted):
                    fetched.replace(target)
                    return
                reason = "its SHA-256 differs from infra/embedded/artifacts.lock; something on the way changes files"
        counter.take_back()
    raise ArtifactError(f"cannot fetch {wanted.coordinate}: {reason}")


def resolve(requested: tuple[str, ...], repository: Path) -> list[tuple[str, Path]]:
    """Resolve pinned coordinates to files, for writing the lock: (long coordinate, file), sorted.

    Args:
        requested: `group:artifact:version` includes its run-time dependencies, and all of these are resolved together
            as one class path; `group:artifact:version:classifier:packaging` is that file alone.
        repository: folder that keeps the fetched files.
    """
    context = _context(repository, None)
    artifacts = []
    transitive = [coordinate for coordinate in requested if coordinate.count(":") == 2]
    if transitive:
        inputs, dependencies = context.resolver.resolve([context.create_dependency(c) for c in transitive])
        artifacts += [dependency.artifact for dependency in [*inputs, *dependencies]]
    for coordinate in requested:
        if coordinate not in transitive:
            group, name, version, classifier, packaging = coordinate.split(":")
            artifacts.append(context.project(group, name).at_version(version).artifact(classifier, packaging))
    rows = []
    for a in artifacts:
        parts = [a.groupId, a.artifactId, a.packaging, a.classifier, a.version]
        rows.append((":".join(part for part in parts if part), Path(a.resolve())))
    return sorted(rows)


class _Counter:
    """Counts the bytes of one attempt, so that the count of a failed attempt can be taken back."""

    def __init__(self, count_bytes: CountBytes) -> None:
        self._count_bytes = count_bytes
        self._seen = 0

    def __call__(self, byte_count: int) -> None:
        self._seen += byte_count
        self._count_bytes(byte_count)

    def take_back(self) -> None:
        self._count_bytes(-self._seen)
        self._seen = 0


def _fetch(wanted: LockedFile, folder: Path, counter: _Counter) -> Path:
    context = _context(folder, counter)
    component = context.project(wanted.group, wanted.artifact).at_version(wanted.version)
    return Path(component.artifact(wanted.classifier, wanted.packaging).resolve())


def _context(repository: Path, counter: CountBytes | None) -> MavenContext:
    @contextmanager
    def progress(_filename: str, _total_bytes: int) -> Iterator[CountBytes]:
        assert counter is not None
        yield counter

    return MavenContext(
        resolver=PythonResolver(progress_callback=progress if counter else None),
        repo_cache=repository,
        remote_repos={"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories},
        timeout=REQUEST_TIMEOUT_SECONDS,
    )


__all__ = ["TransferCancelled", "download", "matches", "resolve", "sha256_of"]
