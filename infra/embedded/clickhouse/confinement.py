"""Takes rights from this process that it does not need, for good: files, the network, programs, and root's powers.

In: the folders to write to and to read from. Out: the names of the walls that stand. The kernel holds the whole process
to the walls, the engine included. Only threads and programs started afterwards inherit them, so `confine` has to be
called before anything starts a thread. Python's library has none of these calls, and no package for them is widely
used.

    Landlock (Linux 5.13)  opens no file outside the folders; binds and connects no TCP (6.7); signals no one (6.12)
    seccomp                opens no socket of any kind, starts no program, traces no process, prefers no thread
    capabilities           root's powers but those over the files of its own folders, and over how threads give way

Source: the kernel's Documentation/userspace-api/landlock.rst and seccomp_filter.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ABI_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_READ = _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
# Version of Landlock -> how many rights over files it knows.
_FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_NET_SINCE, _SCOPED_SINCE = 4, 6
_BIND_AND_CONNECT_TCP = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP = 22, 38, 24
_SECCOMP_MODE_FILTER = 2
_LOAD_WORD, _EQUALS, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _FAIL_WITH = 0x7FFF0000, 0x00050000
# For each machine: its number in a filter, and the numbers of the refused system calls socket, connect, execve,
# execveat, ptrace, io_uring_setup, process_vm_readv, process_vm_writev, sched_setparam, sched_setscheduler,
# sched_setattr and ioprio_set; last the number of setpriority, which is allowed for 0 to 19 only. On x86-64, numbers
# from _X32 on belong to another table.
_MACHINES = {
    "x86_64": (0xC000003E, (41, 42, 59, 322, 101, 425, 310, 311, 142, 144, 314, 251), 141),
    "aarch64": (0xC00000B7, (198, 203, 221, 281, 117, 425, 270, 271, 118, 119, 274, 30), 140),
}
_NICEST = 20
_X32 = 0x40000000

_CAPABILITY_VERSION = 0x20080522
_CAPABILITIES = 64
# CAP_DAC_OVERRIDE and CAP_FOWNER: root may run this on another user's data folder; Landlock bounds both.
# CAP_SYS_NICE: a thread that gave way while it ran the analyst's statement takes its priority back; seccomp bounds it.
_KEPT_CAPABILITIES = 1 << 1 | 1 << 3 | 1 << 23


def needed_to_read() -> list[Path]:
    """Paths that Python and the engine read besides data: the interpreter, its packages, the system's libraries."""
    code = Path(__file__).parents[2]
    entries = [Path(entry) for entry in sys.path if entry]
    # The folder that holds this code's packages is left out: it may hold anything, such as a .env.
    packages = [entry for entry in entries if entry.resolve() not in (code.parent.resolve(), Path.cwd().resolve())]
    system = [
        "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/etc/ld.so.cache",
        "/etc/localtime", "/etc/timezone", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/sys",
        "/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm", "/dev/urandom", "/dev/random", "/dev/null",
    ]  # fmt: skip
    # Single files and not all of /proc/PID: its `environ` holds passwords. Without `auxv` the engine looks for the
    # kernel's vector behind the array of environment variables. Python moves that array, so the engine would take
    # whatever lies behind it: one start in some hundreds crashed by that.
    files = ("auxv", "maps", "statm", "stat", "status", "cgroup", "mountinfo")
    itself = [f"/proc/{os.getpid()}/{name}" for name in files]
    return [
        code,
        code.parent / "services",
        Path(sys.prefix),
        Path(sys.base_prefix),
        *packages,
        *map(Path, (*system, *itself)),
    ]


def confine(*, write: Iterable[Path], read: Iterable[Path]) -> list[str]:
    """Give up all rights but the named ones, for this process and everything that it starts.

    The calling thread must be the process's only one.

    Args:
        write: folders to read from and write to.
        read: folders and files to read from; those that do not exist are left out.

    Returns:
        the names of the walls that stand: landlock, seccomp, capabilities. The kernel may lack any of them.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    standing: list[str] = []
    if sys.platform != "linux":
        return standing
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return standing
    if _drop_capabilities(libc):
        standing.append("capabilities")
    if _landlock(libc, list(write), list(read)):
        standing.append("landlock")
    if _seccomp(libc):
        standing.append("seccomp")
    return standing


def _landlock(libc: ctypes.CDLL, write: list[Path], read: list[Path]) -> bool:
    abi = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ABI_VERSION_FLAG)
    if abi < 1:
        return False
    files = (1 << _FS_BITS.get(abi, _FS_BITS[max(_FS_BITS)])) - 1
    attributes = struct.pack(
        "=QQQ",
        files,
        _BIND_AND_CONNECT_TCP if abi >= _NET_SINCE else 0,
        _ABSTRACT_SOCKETS_AND_SIGNALS if abi >= _SCOPED_SINCE else 0,
    )
    size = 24 if abi >= _SCOPED_SINCE else 16 if abi >= _NET_SINCE else 8
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    try:
        for path in write:
            _allow(libc, ruleset, path, files & ~_EXECUTE)
        for path in read:
            _allow(libc, ruleset, path, files & (_READ | (_WRITE_FILE if path == Path("/dev/null") else 0)))
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, opened)
        if libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    finally:
        # The kernel makes files of /proc anew, which would void the rule, unless somebody holds them open.
        if not path.is_relative_to("/proc"):
            os.close(opened)


class _Filter(ctypes.Structure):
    _fields_ = (("count", ctypes.c_ushort), ("program", ctypes.c_char_p))


def _seccomp(libc: ctypes.CDLL) -> bool:
    known = _MACHINES.get(platform.machine())
    if known is None:
        return False
    architecture, numbers, set_priority = known

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, value)

    # The number lies at byte 0 of what a filter sees, the architecture at byte 4, the third argument at byte 32. All
    # refusals jump to the last step.
    size = len(numbers)
    steps = [step(_LOAD_WORD, 4), step(_EQUALS, architecture, 0, size + 7), step(_LOAD_WORD, 0)]
    steps.append(step(_AT_LEAST, _X32, size + 5, 0))
    steps.append(step(_EQUALS, set_priority, size + 1, 0))
    for place, number in enumerate(numbers):
        steps.append(step(_EQUALS, number, size - place + 3, 0))
    steps.append(step(_RETURN, _ALLOW))
    steps += [step(_LOAD_WORD, 32), step(_AT_LEAST, _NICEST, 1, 0)]
    steps += [step(_RETURN, _ALLOW), step(_RETURN, _FAIL_WITH | errno.EPERM)]
    wanted = _Filter(len(steps), b"".join(steps))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0) == 0)


def _drop_capabilities(libc: ctypes.CDLL) -> bool:
    for number in range(_CAPABILITIES):
        if not _KEPT_CAPABILITIES >> number & 1:
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    kept = _KEPT_CAPABILITIES if os.geteuid() == 0 else 0
    with contextlib.suppress(AttributeError):
        return bool(libc.capset(header, struct.pack("=6I", kept, kept, 0, 0, 0, 0)) == 0)
    return False
