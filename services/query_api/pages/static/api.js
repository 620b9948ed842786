// Reads the API with the key of this tab. The key is kept in the tab's session storage and sent in the header only.
import { useEffect, useRef, useState } from "./view.js";

const LONGEST_WAIT_SECONDS = 60;
// Of 500 rows each.
const MOST_PAGES = 20;

// A number that JavaScript would write in other digits than the API did.
class Exact extends Number {
  constructor(value, source) {
    super(value);
    this.source = source;
  }
}

export function read(text) {
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && context?.source !== undefined && String(value) !== context.source
      ? new Exact(value, context.source)
      : value,
  );
}

// A value in the API's own digits; "" for null.
export function exact(value) {
  if (value === null || value === undefined) return "";
  return value instanceof Exact ? value.source : String(value);
}

export class Refused extends Error {
  constructor(status, problem, retryAfter) {
    super(problem?.message || problem?.detail || `The server answered ${status}.`);
    this.status = status;
    this.code = problem?.code;
    this.retryAfter = retryAfter;
  }
}

export class Session {
  constructor(name) {
    this.name = name;
    this.onRefused = () => {};
    this.isLimited = false;
  }

  get key() {
    try {
      return sessionStorage.getItem(this.name);
    } catch {
      return this.held ?? null;
    }
  }

  set key(value) {
    this.held = value;
    try {
      if (value === null) sessionStorage.removeItem(this.name);
      else sessionStorage.setItem(this.name, value);
    } catch {
      // Without storage the key lives as long as the page.
    }
  }

  async fetch(path, options = {}) {
    const headers = { accept: "application/json", ...options.headers, authorization: `Bearer ${this.key}` };
    return fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" });
  }

  get(path, signal) {
    return this.ask(path, { signal });
  }

  // All rows of a list, page by page.
  async rows(path, signal) {
    const data = [];
    let cursor = "";
    for (let page = 0; page < MOST_PAGES && cursor !== null; page += 1) {
      const found = await this.get(cursor ? `${path}&cursor=${encodeURIComponent(cursor)}` : path, signal);
      data.push(...found.data);
      cursor = found.next_cursor;
    }
    return { data };
  }

  post(path, body) {
    return this.ask(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });
  }

  async ask(path, options) {
    let reply;
    try {
      reply = await this.fetch(path, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, { message: "The server can't be reached." });
    }
    // Where requests are counted, replies tell how many are left.
    this.isLimited = reply.headers.has("ratelimit");
    const text = await reply.text();
    let body = null;
    try {
      body = read(text);
    } catch {
      // A proxy's page, or nothing.
    }
    if (!reply.ok || body === null) {
      const refused = new Refused(reply.status, body, Number(reply.headers.get("retry-after")) || null);
      if (reply.status === 401 || reply.status === 403) this.onRefused(refused);
      throw refused;
    }
    return body;
  }
}

export function withQuery(path, asked) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(asked)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

// The answers at some addresses. While new ones are read, the old ones stay; after a failure they are asked again.
// Answers that take longer than changes come are waited for, and only then asked anew: else none would ever arrive.
// Args: addresses by name, of all pages of a list as { rows: address }; tick: a number that changes when the data may have changed.
export function useAnswers(session, addresses, tick = 0) {
  const wanted = JSON.stringify(addresses);
  const [held, hold] = useState({ wanted: null, data: {}, errors: {}, isLoading: true });
  const round = useRef(null);
  useEffect(() => {
    round.current = { ...followed(session, addresses, wanted, hold), tick };
    return () => round.current.stop();
  }, [session, wanted]);
  useEffect(() => {
    // The first look at new addresses is already as new as this tick.
    if (round.current.tick === tick) return;
    round.current.tick = tick;
    round.current.again();
  }, [tick]);
  return held.wanted === wanted ? held : { wanted, data: {}, errors: {}, isLoading: true };
}

// Asks the addresses now, and once more whenever `again` is called; never twice at the same time.
function followed(session, addresses, wanted, hold) {
  const stopping = new AbortController();
  const names = Object.keys(addresses);
  let timer = null;
  let left = 0;
  let isStale = false;
  const ask = () => {
    clearTimeout(timer);
    isStale = false;
    left = names.length;
    const data = {};
    const errors = {};
    hold((before) => ({ ...(before.wanted === wanted ? before : { wanted, data, errors }), isLoading: left > 0 }));
    for (const name of names) {
      const { rows } = addresses[name];
      (rows ? session.rows(rows, stopping.signal) : session.get(addresses[name], stopping.signal))
        .then(
          (body) => (data[name] = body),
          (error) => (errors[name] = error),
        )
        .then(() => {
          if (stopping.signal.aborted) return;
          left -= 1;
          hold((before) => ({
            wanted,
            data: { ...(before.wanted === wanted ? before.data : {}), ...data },
            errors: { ...errors },
            isLoading: left > 0,
          }));
          if (left > 0) return;
          if (isStale) ask();
          else retryLater(Object.values(errors));
        });
    }
  };
  const retryLater = (errors) => {
    const waits = errors.filter((error) => ![401, 403, 404, 422].includes(error.status)).map((error) => error.retryAfter || 5);
    if (waits.length) timer = setTimeout(ask, Math.min(LONGEST_WAIT_SECONDS, Math.max(...waits)) * 1000);
  };
  ask();
  return {
    again() {
      if (left > 0) isStale = true;
      else ask();
    },
    stop() {
      stopping.abort();
      clearTimeout(timer);
    },
  };
}
