"""ClickHouse's engine in a process of its own, since it reads users and configuration when it is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_RUN = """
import chdb, json, os, sys, time
folder, config, statements = json.load(sys.stdin)
engine = chdb.connect(f"{folder}?config-file={config}")
said = []
def answer(statement, until):
    while True:
        try:
            return ["", engine.query(statement, "TSV").bytes().decode().strip()]
        except Exception as error:
            # A replica takes nothing in until its session with ZooKeeper stands.
            if "TABLE_IS_READ_ONLY" not in str(error) or time.monotonic() > until:
                return [str(error), ""]
            time.sleep(0.1)
for statement in statements:
    said.append(answer(statement, time.monotonic() + 30))
print(json.dumps(said), flush=True)
# The engine's own end may hang where it has replicas; what was inserted is on the disk.
os._exit(0)
"""


def run_statements(data: Path, config: Path, statements: Sequence[str], seconds: float) -> list[tuple[str, str]]:
    """Run statements one after the other; returns the error or "", and the answer as TSV, of each."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN], input=json.dumps([str(data), str(config), list(statements)]),
        capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [(error, answer) for error, answer in json.loads(done.stdout.splitlines()[-1])]
