"""ClickHouse's engine in a process of its own, since it reads users and configuration when it is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_RUN = """
import chdb, json, sys
folder, config, statements = json.load(sys.stdin)
engine = chdb.connect(f"{folder}?config-file={config}")
said = []
for statement in statements:
    try:
        said.append(["", engine.query(statement, "TSV").bytes().decode().strip()])
    except Exception as error:
        said.append([str(error), ""])
print(json.dumps(said))
"""


def run_statements(data: Path, config: Path, statements: Sequence[str], seconds: float) -> list[tuple[str, str]]:
    """Run statements one after the other; returns the error or "", and the answer as TSV, of each."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN], input=json.dumps([str(data), str(config), list(statements)]),
        capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [(error, answer) for error, answer in json.loads(done.stdout.splitlines()[-1])]
