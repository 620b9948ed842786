// Tells when data changed: by the stream of changes, or, where the server has none, every 15 seconds.
import { useEffect, useState } from "./view.js";

const POLL_MS = 15_000;
const QUIET_MS = 1_000;
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

// A number that grows after each change, at most once a second.
export function useTick(session, isOn = true) {
  const [tick, set] = useState(0);
  useEffect(() => {
    if (!isOn) return undefined;
    const stopping = new AbortController();
    let waiting = null;
    let polling = null;
    const bump = () => {
      waiting ??= setTimeout(() => {
        waiting = null;
        set((count) => count + 1);
      }, QUIET_MS);
    };
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
      clearTimeout(waiting);
      clearInterval(polling);
    };
  }, [session, isOn]);
  return tick;
}
