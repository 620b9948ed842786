"""The description of the topics is valid by AsyncAPI's own parser, Avro schemas included."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from services.query_api.apis import all_apis
from services.query_api.site.asyncapi import asyncapi_json
from tests.support.foreign import need, run, with_caches

pytestmark = pytest.mark.long

_PARSE = """
const { Parser } = require('@asyncapi/parser');
const { AvroSchemaParser } = require('@asyncapi/avro-schema-parser');
const parser = new Parser();
parser.registerSchemaParser(AvroSchemaParser());
parser.parse(require('fs').readFileSync('asyncapi.json', 'utf8')).then(({ document, diagnostics }) => {
  const found = diagnostics.filter(one => one.severity <= 1);
  console.log(JSON.stringify({
    found: found.map(one => `${one.severity} ${one.path.join('.')}: ${one.message}`),
    channels: document ? document.channels().all().map(one => one.id()) : [],
    messages: document ? document.messages().all().map(one => one.id()) : [],
  }));
});
"""


def test_the_official_parser_takes_it(tmp_path: Path) -> None:
    need("node", "npm")
    described = asyncapi_json("team.", 4, all_apis())
    (tmp_path / "asyncapi.json").write_bytes(described)
    (tmp_path / "parse.js").write_text(_PARSE)
    caches = with_caches(tmp_path / "caches")
    packages = ["@asyncapi/parser@3", "@asyncapi/avro-schema-parser@3"]
    run(["npm", "install", "--silent", "--no-audit", "--no-fund", *packages], tmp_path, caches)
    parsed = orjson.loads(run(["node", "parse.js"], tmp_path))
    assert parsed["found"] == []
    expected = orjson.loads(described)
    assert set(parsed["channels"]) == set(expected["channels"])
    assert set(parsed["messages"]) >= set(expected["components"]["messages"])
