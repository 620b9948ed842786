"""Names and lines of the environment: a slip of the pen is named with what was meant, a secret is never echoed."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.configuration import known_names
from services.runtime.environment import read_dotenv, unknown_names
from services.runtime.settings import SettingsError


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TIDEMARK_KAFKA_BOOTSTAP", "TIDEMARK_KAFKA_BOOTSTRAP"),
        ("TIDEMARK_KAFKA_BOOTSTRAP_SERVERS", None),
        ("TIDEMARK_LOGLEVEL", "TIDEMARK_LOG_LEVEL"),
        ("TIDEMARK_SECRET_KEY", "TIDEMARK_SECRET_KEYS"),
        ("TIDEMARK_INSTAGRAM_BASE_URI", "TIDEMARK_INSTAGRAM_BASE_URL"),
        ("TIDEMARK_COLOUR", None),
    ],
)
def test_an_unknown_name_comes_with_the_nearest(name: str, meant: str | None) -> None:
    (found,) = unknown_names({name: "x", "PATH": "y"}, known_names())
    assert found.name == name
    assert found.nearest == meant
    assert name in str(found)
    assert meant is None or meant in str(found)


@pytest.mark.parametrize(
    "name",
    [
        "TIDEMARK_KAFKA_BOOTSTRAP",
        "TIDEMARK_ADMIN_KEY_FILE",
        "TIDEMARK_X_CLIENT_SECRET",
        "TIDEMARK_CACHE_DIR",
        "TIDEMARK_TEST_SEED",
        # Kubernetes tells every container of the services beside it.
        "TIDEMARK_QUERY_API_SERVICE_HOST",
        "TIDEMARK_QUERY_API_PORT_8080_TCP_ADDR",
    ],
)
def test_known_names_and_those_of_others_pass(name: str) -> None:
    assert unknown_names({name: "x"}, known_names()) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A=1\n\nhello s3cr3t\n", 3),
        ("A=1\nTIDEMARK_ADMIN_KEY\n", 2),
        ("# fine\nA='never closed s3cr3t\n", 2),
    ],
)
def test_a_line_that_cannot_be_read_is_named_by_its_number(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / ".env"
    path.write_text(text)
    with pytest.raises(SettingsError, match=rf"^\.env line {line} can't be read") as raised:
        read_dotenv(path)
    assert "s3cr3t" not in str(raised.value)


def test_a_good_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# of this machine\nexport A=1\nB='two words' # and why\n\nC=\n")
    assert read_dotenv(path) == {"A": "1", "B": "two words", "C": ""}
    assert read_dotenv(tmp_path / "none") == {}
