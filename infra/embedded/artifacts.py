"""The engines' own files: fetched once, kept in the user's cache folder, checked by `artifacts.lock` at each start.

Comes in: a bundle's name. Goes out: a folder with the bundle's files, complete and verified, archives unpacked. A
folder that holds other files too, or files that differ from the lock, is made anew. Only its owner may write to it.
A folder appears by one rename, so another process sees all of it or nothing. `TIDEMARK_CACHE_DIR` moves the cache.
Run `python -m infra.embedded.artifacts lock` after changing a version in `REQUESTED`.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from infra.embedded.console import say
from infra.embedded.errors import ArtifactError, EmbeddedError
from infra.embedded.lockfile import (
    LOCK_PATH,
    Bundle,
    LockedFile,
    digest_of_tree,
    parse_coordinate,
    read_lock,
    render_lock,
)
from infra.embedded.maven import TransferCancelled, download, matches, resolve, sha256_of
from infra.embedded.transfer import Transfer

KAFKA = "kafka"
REGISTRY = "registry"

# kafka_2.13 4.2.0 brings log4j-core but no slf4j binding; slf4j-simple is the smallest and writes to stderr.
REQUESTED: dict[str, tuple[str, ...]] = {
    KAFKA: ("org.apache.kafka:kafka_2.13:4.2.0", "org.slf4j:slf4j-simple:2.0.17"),
    REGISTRY: ("io.apicurio:apicurio-registry-app:3.3.3:all:tar.gz",),
}

# More connections than cores: the files are many and small, and each waits for the network most of the time.
PARALLEL_DOWNLOADS = 8
PARALLEL_HASHES = 4
MANIFEST = "manifest.json"
ABANDONED_SECONDS = 24 * 60 * 60
# Folders whose files this process has compared with the lock and found equal.
_genuine: set[Path] = set()


def cache_dir() -> Path:
    """The folder for every engine's files: `TIDEMARK_CACHE_DIR`, or Tidemark's part of the user's cache folder."""
    override = os.environ.get("TIDEMARK_CACHE_DIR")
    return Path(override).expanduser() if override else user_cache_path("tidemark")


def ensure(*names: str) -> dict[str, Path]:
    """Return each named bundle's folder; bundles that are missing or damaged are fetched first, in parallel.

    Safe to call from several processes at once: one fetches, the others wait for it.

    Raises:
        ArtifactError: a file cannot be fetched, verified or stored; the message says what to do.
    """
    lock = read_lock()
    root = cache_dir()
    try:
        root.mkdir(parents=True, mode=0o700, exist_ok=True)
        _refuse_if_shared(root)
        with ExitStack() as held:
            for name in sorted(names):
                if not _is_right(_folder(root, lock[name]), lock[name]):
                    held.enter_context(FileLock(root / f"{name}.lock"))
            # Checked again under the lock: another process may have fetched a bundle meanwhile.
            missing = [lock[name] for name in sorted(names) if not _is_right(_folder(root, lock[name]), lock[name])]
            if missing:
                _fetch_bundles(missing, root)
                _genuine.update(_folder(root, bundle) for bundle in missing)
    except OSError as error:
        raise ArtifactError(_storage_failure(root, error)) from error
    return {name: _folder(root, lock[name]) for name in names}


def is_genuine(folder: Path, bundle: Bundle) -> bool:
    """Whether a bundle's folder holds the files of the lock and no others; every file is hashed.

    210 MB in 515 files take 0.5 s on two busy cores, so a process hashes each folder only once.
    """
    try:
        sums = _sums(folder)
    except OSError:
        return False
    archives = [locked for locked in bundle.files if locked.packaging == "tar.gz"]
    if not archives:
        return is_intact(folder) and sums == {locked.filename: locked.sha256 for locked in bundle.files}
    # Without this digest the lock knows a bundle's archives, and not the files in them.
    return is_intact(folder) and bundle.unpacked in ("", digest_of_tree(sums))


def is_intact(folder: Path) -> bool:
    """Whether a bundle's folder still agrees with the manifest that this program wrote into it.

    Sizes and modification times are compared, and only a file that differs in them is hashed again, so the check takes
    milliseconds. The check finds accidents. Against somebody who also rewrites the manifest there is `is_genuine`.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        touched = False
        for relative, (size_bytes, modified_ns, sha256) in manifest.items():
            path = folder / relative
            status = path.stat()
            if status.st_size != size_bytes:
                return False
            if status.st_mtime_ns != modified_ns:
                if sha256_of(path) != sha256:
                    return False
                touched = True
    except (OSError, ValueError, AttributeError, TypeError):
        return False
    if touched:
        _write_manifest(folder)
    return True


def write_lock(path: Path = LOCK_PATH) -> list[Bundle]:
    """Resolve `REQUESTED` anew and write the lock.

    Raises:
        ArtifactError: a file cannot be fetched.
    """
    bundles = []
    with tempfile.TemporaryDirectory() as repository:
        for name, requested in REQUESTED.items():
            files = []
            unpacked = Path(repository) / f"unpacked-{name}"
            for coordinate, file in resolve(requested, Path(repository)):
                group, artifact, packaging, classifier, version = parse_coordinate(coordinate)
                size_bytes = file.stat().st_size
                files.append(LockedFile(group, artifact, version, packaging, classifier, size_bytes, sha256_of(file)))
                if packaging == "tar.gz":
                    _unpack(file, unpacked)
            digest = digest_of_tree(_sums(unpacked)) if unpacked.exists() else ""
            bundles.append(Bundle(name, requested, tuple(files), digest))
    path.write_text(render_lock(bundles), encoding="utf-8")
    return bundles


def _refuse_if_shared(root: Path) -> None:
    """Raise when others may write to the cache: they could have the engines run any code."""
    status = root.stat()
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o002:
        raise ArtifactError(
            f"others can write the cache {root}: `chmod go-w` it, or set TIDEMARK_CACHE_DIR to a folder that you own"
        )
    if status.st_uid == os.geteuid():
        _close(root, status.st_mode)


def _close(path: Path, mode: int) -> None:
    if mode & 0o022:
        path.chmod(stat.S_IMODE(mode) & ~0o022)


def _is_right(folder: Path, bundle: Bundle) -> bool:
    if folder in _genuine and is_intact(folder):
        return True
    if not is_genuine(folder, bundle):
        return False
    _genuine.add(folder)
    return True


def _sums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder but the manifest, by relative path; takes the right to write from others."""
    files = []
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return {}  # no archive here unpacks to a link, and the file that a link leads to may change
        if status.st_uid == os.geteuid():
            _close(path, status.st_mode)
        if stat.S_ISREG(status.st_mode) and path != folder / MANIFEST:
            files.append(path)
    with ThreadPoolExecutor(PARALLEL_HASHES) as pool:
        return dict(zip((str(path.relative_to(folder)) for path in files), pool.map(sha256_of, files), strict=True))


def _folder(root: Path, bundle: Bundle) -> Path:
    return root / f"{bundle.name}-{bundle.digest[:12]}"


def _fetch_bundles(bundles: list[Bundle], root: Path) -> None:
    _remove_abandoned(root)
    title = "Fetching " + " and ".join(bundle.name for bundle in bundles)
    with tempfile.TemporaryDirectory(dir=root, prefix=".fetch-") as scratch_name:
        scratch = Path(scratch_name)
        files = [(bundle, locked) for bundle in bundles for locked in bundle.files]
        files.sort(key=lambda pair: pair[1].size_bytes, reverse=True)
        for bundle in bundles:
            (scratch / bundle.name).mkdir()
        with (
            Transfer(title, sum(bundle.size_bytes for bundle in bundles)) as transfer,
            ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool,
        ):
            futures = [
                pool.submit(_fetch_file, locked, scratch / bundle.name, _folder(root, bundle), transfer, scratch)
                for bundle, locked in files
            ]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                failures = [error for future in done if (error := future.exception()) is not None]
                if failures:
                    raise next((e for e in failures if not isinstance(e, TransferCancelled)), failures[0])
            finally:
                transfer.cancel()
                pool.shutdown(wait=True, cancel_futures=True)
        for bundle in bundles:
            _install(bundle, scratch / bundle.name, _folder(root, bundle))


def _remove_abandoned(root: Path) -> None:
    """Remove the files of fetches that were killed; no fetch that still runs is a day old."""
    for folder in root.glob(".fetch-*"):
        if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _fetch_file(locked: LockedFile, into: Path, earlier: Path, transfer: Transfer, scratch: Path) -> None:
    target = into / locked.filename
    kept = earlier / locked.filename
    if matches(kept, locked):
        shutil.copyfile(kept, target)
        transfer.add(locked.size_bytes)
    else:
        download(locked, target, transfer.add, scratch)


def _install(bundle: Bundle, staged: Path, folder: Path) -> None:
    for locked in bundle.files:
        if locked.packaging == "tar.gz":
            archive = staged / locked.filename
            _unpack(archive, staged)
            archive.unlink()
    _write_manifest(staged)
    if folder.exists():
        folder.rename(staged.parent / f"{bundle.name}-damaged")
    staged.rename(folder)


def _unpack(archive: Path, into: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(into, filter="data")


def _write_manifest(folder: Path) -> None:
    manifest = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        status = path.stat()
        manifest[str(path.relative_to(folder))] = (status.st_size, status.st_mtime_ns, sha256_of(path))
    partial = folder / f"{MANIFEST}.{os.getpid()}"
    partial.write_text(json.dumps(manifest), encoding="utf-8")
    partial.replace(folder / MANIFEST)


def _storage_failure(root: Path, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"no space left for the cache {root}: free 500 MB there or set TIDEMARK_CACHE_DIR to another disk"
    return f"cannot write the cache {root} ({error.strerror}): set TIDEMARK_CACHE_DIR to a folder that you own"


def main(arguments: Iterable[str]) -> int:
    """`fetch` fills the cache, `lock` writes the lock anew; returns the exit code."""
    command = list(arguments)
    try:
        if command == ["fetch"]:
            for name, folder in ensure(KAFKA, REGISTRY).items():
                say(f"{name}: {folder}")
        elif command == ["lock"]:
            for bundle in write_lock():
                say(f"{bundle.name}: {len(bundle.files)} files, {bundle.size_bytes} bytes")
        else:
            say("usage: python -m infra.embedded.artifacts fetch|lock")
            return 2
    except EmbeddedError as error:
        say(f"tidemark: {error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
