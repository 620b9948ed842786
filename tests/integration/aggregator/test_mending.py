"""Whatever the audit finds, the command that it names mends: each way to be wrong, by hand, found, mended, gone."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner, Result

from services.cli import app
from tests.support.backend import Backend
from tests.support.breakages import BREAKAGES, Breakage, figures, fill
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(600)


def _run(backend: Backend, *arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env=backend.environment)


def _audit(backend: Backend, *options: str) -> Result:
    return _run(backend, "audit", "--grace-seconds", "0.2", "--retries", "3", *options)


def _mended(backend: Backend, named: str) -> None:
    """Run the command that the audit named."""
    assert "`tidemark rebuild`" in named, named
    rebuilt = _run(backend, "rebuild", "--handover-seconds", "60")
    assert rebuilt.exit_code == 0, f"{rebuilt.output}\n{backend.log_tail()}"


def _break_and_mend(backend: Backend, tenants: dict[str, Breakage]) -> None:
    names = [*tenants]
    fill(backend, names)
    wait_until(lambda: _audit(backend).exit_code == 0, 30, lambda: _audit(backend).output)
    before = figures(backend, names)
    for name, breakage in tenants.items():
        breakage.apply(backend, name)
    found = _audit(backend)
    assert found.exit_code == 1, found.output
    lines = [line.split("\t") for line in found.stdout.splitlines()]
    seen = {name: {line[0] for line in lines if line[1] == name} for name in names}
    missed = {breakage.name: seen[name] for name, breakage in tenants.items() if breakage.check not in seen[name]}
    assert missed == {}
    for check in {line[0] for line in lines}:
        (named,) = [line for line in found.stderr.splitlines() if line.startswith(f"audit: {check}: ")]
        assert "to mend: `tidemark rebuild`" in named
    _mended(backend, found.stderr)
    again = _audit(backend)
    assert again.exit_code == 0, again.output
    after = figures(backend, names)
    assert {what: sorted(after[what] ^ seen) for what, seen in before.items() if after[what] != seen} == {}


def test_every_difference_is_found_and_mended_by_the_command_that_is_named(backend: Backend, workspace: str) -> None:
    _break_and_mend(backend, {f"{workspace}-{number}": breakage for number, breakage in enumerate(BREAKAGES)})


@pytest.mark.long
@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name.replace(" ", "-"))
def test_a_difference_alone_is_found_and_mended(backend: Backend, workspace: str, breakage: Breakage) -> None:
    """By itself: what mends one difference must not be what another one called for."""
    _break_and_mend(backend, {workspace: breakage})
