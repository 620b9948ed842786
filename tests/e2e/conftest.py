"""One running Tidemark for all end-to-end tests, started as an operator starts it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.tidemark import Tidemark


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the running Tidemark stay in one process of the test run, so that only one is started."""
    for item in items:
        if "tidemark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("tidemark"))


@pytest.fixture(scope="session")
def tidemark(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tidemark]:
    """`tidemark up` with the sandbox, polling sixty times as often as in production."""
    if request.config.getoption("--engines") != "embedded":
        pytest.skip("runs `tidemark up`, which has engines of its own: --engines=embedded only")
    # On a busy machine a test that opens a thousand connections sends on the first of them many seconds later.
    patient = {"TIDEMARK_POLL_SPEED": "60", "TIDEMARK_HTTP_HEAD_SECONDS": "60"}
    running = Tidemark(tmp_path_factory.mktemp("up"), patient)
    running.start()
    yield running
    running.stop()
