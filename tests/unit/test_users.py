"""`--users FOLDER`: what is refused before any engine is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from services.commands import users
from services.commands.users import UsersError, make_kafka_users
from services.runtime.settings import KafkaSettings


@pytest.mark.parametrize("mechanism", ["PLAIN", "GSSAPI", "OAUTHBEARER"])
def test_users_that_kafka_does_not_make_are_left_to_the_cluster(tmp_path: Path, mechanism: str) -> None:
    settings = KafkaSettings(
        kafka_bootstrap="127.0.0.1:9", kafka_security_protocol="SASL_SSL", kafka_sasl_mechanism=mechanism
    )
    with pytest.raises(UsersError, match=f"is {mechanism}: make the users as your cluster does, and leave out --users"):
        list(make_kafka_users(settings, tmp_path / "kafka", {"poller": "tidemark-poller"}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["topics", "--acls"], ["topics"], ["migrate", "--grants"], ["migrate"]])
def test_users_are_made_where_rights_are_applied(tmp_path: Path, command: list[str]) -> None:
    told = [sys.executable, "-m", "services.cli", *command, "--users", str(tmp_path / "secrets")]
    ended = subprocess.run(told, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "--users belongs to --" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_of_a_password_is_refused(tmp_path: Path) -> None:
    settings = KafkaSettings(
        kafka_bootstrap="127.0.0.1:9", kafka_security_protocol="SASL_SSL", kafka_sasl_mechanism="SCRAM-SHA-512"
    )
    (tmp_path / "poller").write_text("")
    with pytest.raises(UsersError, match="is empty"):
        list(make_kafka_users(settings, tmp_path, {"poller": "tidemark-poller"}))


def test_a_run_that_dies_while_it_writes_a_password_leaves_no_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("services.runtime.new_files.os.fsync", stopped)
    with pytest.raises(KeyboardInterrupt):
        users._write(tmp_path / "kafka" / "poller", "secret")
    assert list((tmp_path / "kafka").iterdir()) == []
    monkeypatch.undo()
    users._write(tmp_path / "kafka" / "poller", "secret")
    assert (tmp_path / "kafka" / "poller").read_text() == "secret\n"
    with pytest.raises(UsersError, match="can't be written"):
        users._write(tmp_path / "kafka" / "poller", "another run's")
