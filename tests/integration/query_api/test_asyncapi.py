"""The description of the topics is valid by AsyncAPI's own parser, Avro schemas included."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.support.foreign import need, run, with_caches
from tests.support.query_api import fake_api

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


async def test_the_official_parser_takes_what_is_served(tmp_path: Path) -> None:
    need("node", "npm")
    reply = await fake_api().client.get("/asyncapi.json")
    assert reply.status_code == 200, reply.text
    described = reply.content
    (tmp_path / "asyncapi.json").write_bytes(described)
    (tmp_path / "parse.js").write_text(_PARSE)
    caches = with_caches(tmp_path / "caches")
    packages = ["@asyncapi/parser@3.6.6", "@asyncapi/avro-schema-parser@3.1.0"]
    run(["npm", "install", "--silent", "--no-audit", "--no-fund", *packages], tmp_path, caches)
    parsed = orjson.loads(run(["node", "parse.js"], tmp_path))
    assert parsed["found"] == [], "errors and warnings"
    expected = orjson.loads(described)
    # Topics, webhooks and the stream.
    assert {"platform.raw", "rollups.posts", "webhooks"} < set(parsed["channels"]) == set(expected["channels"])
    assert set(parsed["messages"]) >= set(expected["components"]["messages"])
