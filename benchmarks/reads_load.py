"""wrk as the load generator: found or installed, told which posts to ask for, and read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 64
# A paced run comes from more connections with long random pauses: arrivals are then all but independent of how quickly
# the server answers. No pause may be as long as the 5 s after which the server closes an idle connection.
PACED_CONNECTIONS = 256
_PAUSE_SECONDS = 0.3

# Arguments: PATH posts first step mean_pause_ms key...; `%d` in PATH is the post's number, whose key is number % keys.
_SCRIPT = """
local template, posts, first, step, pause, keys, made, count

function init(args)
   template = args[1]
   posts, first, step, pause = tonumber(args[2]), tonumber(args[3]), tonumber(args[4]), tonumber(args[5])
   keys, made, count = {}, {}, 0
   for index = 6, #args do keys[#keys + 1] = args[index] end
   math.randomseed(first + 1)
end

function request()
   local number = (first + count * step) % posts
   count = count + 1
   local found = made[number]
   if found == nil then
      found = "GET " .. string.format(template, number) .. " HTTP/1.1\\r\\nHost: bench\\r\\nAuthorization: Bearer "
         .. keys[number % #keys + 1] .. "\\r\\n\\r\\n"
      if posts <= 1000 then made[number] = found end
   end
   return found
end

function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format('{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "errors": %d}\\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      e.connect + e.read + e.write + e.status + e.timeout))
end
"""
# wrk waits wherever a script has this function. Exponential pauses: arrivals come in clusters, as independent ones do.
_PAUSES = """
function delay()
   return math.floor(-pause * math.log(1 - math.random()) + 0.5)
end
"""


class NoGenerator(Exception):
    """wrk is not there and could not be installed; the message says what to do."""


@dataclass(frozen=True)
class Posts:
    """Which posts are asked for.

    Attributes:
        count: they are numbered from 0.
        first: number of the first one asked for; each further one is `step` further, around the end.
        step: without a common divisor with `count`, so that none comes twice before all came.
        keys: API keys; a post's is that of its number modulo their count.
    """

    count: int
    keys: Sequence[str]
    first: int = 0
    step: int = 1


@dataclass(frozen=True)
class Load:
    """What one run of the generator saw.

    Attributes:
        rate: requests a second.
        p50: milliseconds.
        p99: likewise.
    """

    requests: int
    rate: float
    p50: float
    p99: float

    def figures(self) -> dict[str, float]:
        """As the result files hold it."""
        return {
            "requests": self.requests,
            "requests_per_second": self.rate,
            "p50_milliseconds": self.p50,
            "p99_milliseconds": self.p99,
        }


def generator() -> str:
    """The path of wrk, installed from Debian's archive where this process may.

    Raises:
        NoGenerator: neither.
    """
    found = shutil.which("wrk")
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "install", "-y", "wrk"], capture_output=True, timeout=120, check=False)
        found = shutil.which("wrk")
    if found is None:
        raise NoGenerator("wrk is needed to measure reads: install it (Debian: apt-get install wrk), then run again")
    return found


def run(
    wrk: str, folder: Path, origin: str, path: str, posts: Posts, seconds: float, rate: float | None = None
) -> Load:
    """Ask for posts in turn, as fast as answers come or at about `rate`.

    Args:
        wrk: its path.
        folder: takes the script.
        path: with `%d` for a post's number.
        seconds: whole ones.
        rate: requests a second that the pauses aim at; the answers' own time makes it a little less.

    Raises:
        AssertionError: a request failed, or was not answered 200.
    """
    connections = CONNECTIONS
    if rate is not None:
        connections = min(PACED_CONNECTIONS, max(CONNECTIONS, round(rate * _PAUSE_SECONDS)))
    pause = 0 if rate is None else max(1, round(connections / rate * 1000))
    script = folder / ("unpaced.lua" if rate is None else "paced.lua")
    script.write_text(_SCRIPT if rate is None else _SCRIPT + _PAUSES)
    told = [path, str(posts.count), str(posts.first), str(posts.step), str(pause), *posts.keys]
    options = ["-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "10s", "-s", str(script)]
    done = subprocess.run(
        [wrk, *options, origin, "--", *told],
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    assert done.returncode == 0, f"wrk ended with {done.returncode}: {done.stderr[-1000:]}{done.stdout[-1000:]}"
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    assert seen["errors"] == 0, f"{seen['errors']} of {seen['requests']} requests to {path} were not answered"
    return Load(
        requests=seen["requests"],
        rate=seen["requests"] / seen["microseconds"] * 1e6,
        p50=seen["p50"] / 1000,
        p99=seen["p99"] / 1000,
    )
