"""`.env.example` names every setting, with the README's words and the settings' defaults, and changes nothing."""

from __future__ import annotations

import re
from pathlib import Path

from infra.env_example import PAGE, README, render
from services.configuration import SERVICES, known_names
from services.runtime.environment import read_dotenv
from services.runtime.settings import ENV_PREFIX, FILE_SUFFIX

SHOWN = dict(re.findall(r"^#(TIDEMARK_\w+)=(.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))


def test_it_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(README.read_text(encoding="utf-8")), (
        "run `python -m infra.env_example`"
    )


def test_it_names_every_setting_and_no_other() -> None:
    # NAME_FILE stands for NAME, as the head of the file says.
    known = {name for name in known_names() if name.removesuffix(FILE_SUFFIX) not in known_names() - {name}}
    assert set(SHOWN) == known


def test_it_shows_the_defaults() -> None:
    checked = 0
    for settings in SERVICES.values():
        for field, declared in settings.model_fields.items():
            shown = SHOWN[ENV_PREFIX + field.upper()]
            if shown:
                assert shown in (str(declared.default), f"{declared.default:g}"
                                 if isinstance(declared.default, float) else ""), field  # fmt: skip
                checked += 1
    assert checked > 30


def test_a_copy_of_it_sets_nothing(tmp_path: Path) -> None:
    copy = tmp_path / ".env"
    copy.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    assert read_dotenv(copy) == {}
