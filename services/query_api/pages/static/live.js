// Tells when data changed: by the stream of changes, or, where the server has none, every 15 seconds.
import { useEffect, useState } from "./view.js";

const POLL_MS = 15_000;
// A view asks several endpoints anew: soon after a first change, and then not too often.
const QUIET_MS = 1_000;
const APART_MS = 8_000;
const AGAIN_MS = 5_000;

const later = () => new Promise((resolve) => setTimeout(resolve, AGAIN_MS));

// Follows the stream until the server has none. A stream that breaks goes on behind its last change.
async function follow(session, signal, { changed, connected, lost }) {
  let last = null;
  while (!signal.aborted) {
    try {
      const headers = { accept: "text/event-stream", ...(last === null ? {} : { "last-event-id": last }) };
      const address = last === null ? "/tidemark/v1/stream?cursor=now" : "/tidemark/v1/stream";
      const reply = await session.fetch(address, { headers, signal });
      if (reply.status === 410) last = null;
      else if (!reply.ok || !reply.body) {
        await reply.text();
        return;
      } else {
        connected();
        // What changed after the views were read and before this stream began is told by neither.
        if (last === null) changed();
        for await (const line of linesOf(reply.body)) {
          if (line.startsWith("id:")) last = line.slice(3).trim();
          else if (line.startsWith("data:")) changed();
        }
      }
    } catch {
      // The connection broke, or this view ended.
    }
    lost();
    await later();
  }
}

async function* linesOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}

// A number that grows after a change: within a second after a quiet time, else every few seconds; not in a hidden tab.
export function useTick(session, isOn = true) {
  const [tick, set] = useState(0);
  useEffect(() => {
    if (!isOn) return undefined;
    const stopping = new AbortController();
    let waiting = null;
    let polling = null;
    let last = -Infinity;
    let isMissed = false;
    const bump = () => {
      waiting ??= setTimeout(() => {
        waiting = null;
        if (document.visibilityState !== "visible") {
          isMissed = true;
          return;
        }
        last = performance.now();
        set((count) => count + 1);
      }, Math.max(QUIET_MS, last + APART_MS - performance.now()));
    };
    const shown = () => {
      if (document.visibilityState === "visible" && isMissed) {
        isMissed = false;
        bump();
      }
    };
    document.addEventListener("visibilitychange", shown);
    const lost = () => {
      if (stopping.signal.aborted) return;
      polling ??= setInterval(() => document.visibilityState === "visible" && set((count) => count + 1), POLL_MS);
    };
    const connected = () => {
      clearInterval(polling);
      polling = null;
    };
    follow(session, stopping.signal, { changed: bump, connected, lost }).then(lost);
    return () => {
      stopping.abort();
      document.removeEventListener("visibilitychange", shown);
      clearTimeout(waiting);
      clearInterval(polling);
    };
  }, [session, isOn]);
  return tick;
}
