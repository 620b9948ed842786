"""Clients that openapi-generator makes of the description compile: Python, Java, TypeScript and Go."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.query_api.apis import all_apis
from services.query_api.serving.openapi import openapi_json
from tests.support.foreign import need, run, with_caches

pytestmark = pytest.mark.long

GENERATOR = "org.openapitools:openapi-generator-cli:7.25.0"
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
_NAMES = ("Post", "Target", "Channel", "PostPage", "Problem")


@pytest.fixture(scope="module")
def generate(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Makes a client of a kind and returns its folder."""
    need("java", "mvn")
    folder = tmp_path_factory.mktemp("clients")
    run(
        ["mvn", "-q", "-B", f"{_PLUGIN}:copy", f"-Dartifact={GENERATOR}", f"-DoutputDirectory={folder}"],
        folder,
        with_caches(folder / "caches"),
    )
    (jar,) = folder.glob("openapi-generator-cli-*.jar")
    described = folder / "openapi.json"
    described.write_bytes(openapi_json(all_apis()))

    def made(kind: str, options: str = "") -> Path:
        client = folder / kind
        command = ["java", "-jar", str(jar), "generate", "-i", str(described), "-g", kind, "-o", str(client)]
        run([*command, *(["--additional-properties", options] if options else [])], folder)
        text = "\n".join(path.name.lower().replace("_", "") for path in client.rglob("*"))
        for word in ("response200", "anyof", "oneof", "inlineobject"):
            assert word not in text, f"a type of the {kind} client has a made-up name"
        return client

    return made


def test_python(generate: Callable[[str, str], Path]) -> None:
    client = generate("python", "packageName=tidemark_generated")
    environment = with_caches(client / "caches")
    run([sys.executable, "-m", "venv", "environment"], client)
    run(["environment/bin/pip", "-q", "install", "."], client, environment)
    code = (
        "import importlib, pkgutil, tidemark_generated as made\n"
        "for module in pkgutil.walk_packages(made.__path__, 'tidemark_generated.'):\n"
        "    importlib.import_module(module.name)\n"
        "from tidemark_generated.models.problem import Problem\n"
        "print(*sorted(name for name in dir(made) if name[0].isupper()))\n"
        "print(made.TidemarkApi.get_post.__name__, made.TidemarkApi.list_posts.__name__)\n"
        "Problem.from_dict({'type': 'about:blank', 'title': 'Not Found', 'status': 404, 'detail': '', 'code': '', "
        "'message': ''})\n"
    )
    printed = run(["environment/bin/python", "-I", "-c", code], client)
    assert set(_NAMES) <= set(printed.split())


def test_java(generate: Callable[[str, str], Path]) -> None:
    need("javac")
    client = generate("java", "hideGenerationTimestamp=true")
    environment = with_caches(client / "caches")
    run(["mvn", "-q", "-B", f"{_PLUGIN}:resolve"], client, environment)
    run(["mvn", "-q", "-B", f"{_PLUGIN}:build-classpath", "-Dmdep.outputFile=classpath"], client, environment)
    sources = [str(path) for path in (client / "src/main").rglob("*.java")]
    (client / "sources").write_text("\n".join(sources))
    classpath = (client / "classpath").read_text().strip()
    run(["javac", "-nowarn", "-proc:none", "-d", "classes", "-cp", classpath, "@sources"], client)
    assert set(_NAMES) <= {path.stem for path in (client / "classes").rglob("*.class")}


def test_typescript(generate: Callable[[str, str], Path]) -> None:
    need("node", "npm")
    client = generate("typescript-axios", "npmName=tidemark-generated")
    packages = ["typescript@5", "axios@1", "@types/node@20"]
    run(["npm", "install", "--silent", "--no-audit", "--no-fund", *packages], client, with_caches(client / "caches"))
    compiler = str(client / "node_modules/.bin/tsc")
    options = ["--strict", "--declaration", "--target", "es2020", "--module", "node16", "--outDir", "made"]
    run([compiler, *options, "index.ts"], client)
    text = (client / "made/api.d.ts").read_text()
    for name in _NAMES:
        assert f"export interface {name} " in text


def test_go(generate: Callable[[str, str], Path]) -> None:
    need("go")
    client = generate("go", "isGoSubmodule=false,withGoMod=true")
    environment = with_caches(client.parent / "go-caches")
    run(["go", "mod", "tidy"], client, environment)
    run(["go", "build", "."], client, environment)
    text = "\n".join(path.read_text() for path in client.glob("model_*.go"))
    for name in _NAMES:
        assert f"type {name} struct" in text


@pytest.mark.parametrize(
    ("packages", "command"),
    [
        (["@stoplight/spectral-cli@6"], ["spectral", "lint", "--fail-severity", "hint", "-r", "rules.yaml"]),
        (["@redocly/cli@2"], ["redocly", "lint", "--extends", "recommended", "--format", "json"]),
    ],
)
def test_linters_find_nothing(tmp_path: Path, packages: list[str], command: list[str]) -> None:
    need("node", "npm")
    (tmp_path / "rules.yaml").write_text('extends: ["spectral:oas"]\n')
    (tmp_path / "openapi.json").write_bytes(openapi_json(all_apis()))
    caches = with_caches(tmp_path / "caches")
    run(["npm", "install", "--silent", "--no-audit", "--no-fund", *packages], tmp_path, caches)
    binary = str(tmp_path / "node_modules/.bin" / command[0])
    printed = run([binary, *command[1:], "openapi.json"], tmp_path)
    if command[0] == "redocly":
        assert '"warnings": 0' in printed
        assert '"errors": 0' in printed
