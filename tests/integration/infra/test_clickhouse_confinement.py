"""What the engine needs of the system although it is confined."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.integration.infra.test_clickhouse_server import ROOT

# The engine asks for the kernel's auxiliary vector. Where it may not read that, it takes what lies behind the array of
# environment variables for it; here that is a vector that says the kernel's own library is at an address of nothing.
LOADS_WITH_A_WRONG_VECTOR = """
import ctypes, os, sys
from pathlib import Path
from infra.embedded.clickhouse.confinement import confine, needed_to_read
folder = Path(sys.argv[1])
confine(write=[folder], read=needed_to_read())
variable = ctypes.create_string_buffer(b"TMPDIR=" + os.fsencode(folder))
AT_SYSINFO_EHDR = 33
behind = (ctypes.c_size_t * 8)(ctypes.addressof(variable), 0, AT_SYSINFO_EHDR, 0xDEAD0000, 0, 0, 0, 0)
ctypes.c_void_p.in_dll(ctypes.CDLL(None), "environ").value = ctypes.addressof(behind)
from infra.embedded.clickhouse.connection import Connection
print(Connection(str(folder / "engine")).query("SELECT 1").bytes().decode().strip(), flush=True)
os._exit(0)
"""


def test_the_engine_starts_whatever_lies_behind_the_environment(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", LOADS_WITH_A_WRONG_VECTOR, str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr[-2000:]
