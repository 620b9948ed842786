// Tells when data changed: by the stream of changes, or, where the server has none, every 15 seconds.
import { useEffect, useState } from "./view.js";

const POLL_MS = 15_000;
// A view asks several endpoints anew: soon after a first change, and then not too often.
const QUIET_MS = 1_000;
const APART_MS = 8_000;
const AGAIN_MS = 5_000;

async function follow(session, signal, changed, connected) {
  let last = null;
  for (;;) {
    const headers = { accept: "text/event-stream", ...(last === null ? {} : { "last-event-id": last }) };
    const address = last === null ? "/tidemark/v1/stream?cursor=now" : "/tidemark/v1/stream";
    const reply = await session.fetch(address, { headers, signal });
    if (!reply.ok || !reply.body) {
      await reply.text();
      return;
    }
    connected();
    const lines = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await lines.read();
      if (done) break;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const line of parts) {
        if (line.startsWith("id:")) last = line.slice(3).trim();
        else if (line.startsWith("data:")) changed();
      }
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
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
    const poll = () => {
      polling ??= setInterval(() => document.visibilityState === "visible" && set((count) => count + 1), POLL_MS);
    };
    const streamed = () => {
      clearInterval(polling);
      polling = null;
    };
    follow(session, stopping.signal, bump, streamed).catch(() => {}).then(() => !stopping.signal.aborted && poll());
    return () => {
      stopping.abort();
      document.removeEventListener("visibilitychange", shown);
      clearTimeout(waiting);
      clearInterval(polling);
    };
  }, [session, isOn]);
  return tick;
}
