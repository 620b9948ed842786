"""One attacker in a process of its own: `python -m tests.support.hostile ROLE scenario.json`; ends by itself."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

# Header names that are no UTF-8 are written by aiokafka's Python code only.
os.environ["AIOKAFKA_NO_EXTENSIONS"] = "1"

from tests.support.hostile.analyst import Analyst
from tests.support.hostile.hoarders import Hoarders
from tests.support.hostile.producer import PoisonProducer
from tests.support.hostile.scenario import Scenario, Tally
from tests.support.hostile.strangers import Strangers

ROLES: dict[str, Callable[[Scenario, Tally], PoisonProducer | Analyst | Hoarders | Strangers]] = {
    "producer": PoisonProducer,
    "analyst": Analyst,
    "hoarders": Hoarders,
    "strangers": Strangers,
}
# Attackers work on machines of their own: what they do here besides sending is not to be the attack. They take what the
# system and its tenants leave; but the producer, which needs little, also gets that little beside another run of tests.
NICE = {"producer": 5, "analyst": 19, "hoarders": 19, "strangers": 19}


def main(role: str, path: Path) -> None:
    scenario = Scenario.read(path)
    os.nice(NICE[role])
    # Whatever a socket or a client does: it does not outlive the run.
    last = threading.Timer(scenario.seconds + 90, lambda: os._exit(3))
    last.daemon = True
    last.start()
    tally = Tally(Path(scenario.folder) / f"{role}.json", scenario.secrets())
    try:
        ROLES[role](scenario, tally).run()
    finally:
        tally.write()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
