"""A platform that breaks connections: the poller leaves it in peace, goes on with the others, and comes back by itself.

What else may go wrong, and for longer: `test_faults_long.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.poller.faults import UNKNOWN, UNTRUSTED, WORKSPACES, Theatre
from tests.support.engines import Engines
from tests.support.faulty_platform import Behaviour, Way

# Longer than any target of the platform that is well may wait.
SECONDS = 5.0
RECOVERY_SECONDS = 20.0


@pytest.fixture
def theatre(engines: Engines, tmp_path: Path) -> Iterator[Theatre]:
    made = Theatre(engines, tmp_path)
    yield made
    made.close()


def test_half_an_answer_is_none_and_the_platform_is_left_in_peace(theatre: Theatre) -> None:
    with theatre.failing(Behaviour(Way.HALF_BODY), SECONDS) as failing:
        failing.check("broken_answer", 2 * WORKSPACES + SECONDS)
    theatre.wait_for_polls(failing.began_at + SECONDS, RECOVERY_SECONDS)
    for platform in (UNTRUSTED, UNKNOWN):
        assert set(theatre.calls(platform)) == {"unreachable"}
    assert theatre.untrusted.asked == []
    theatre.check_events()
