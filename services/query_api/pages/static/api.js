// Reads the API with the key of this tab. The key is kept in the tab's session storage and sent in the header only.
import { read } from "./digits.js";
import { useEffect, useRef, useState } from "./view.js";

const LONGEST_WAIT_SECONDS = 60;
// A server that is frozen takes connections and never answers. Reads of the API end sooner than this.
const LONGEST_READ_MS = 60_000;
// Of 500 rows each.
const MOST_PAGES = 20;

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
    // What views keep of answers beyond their own life; of one key only.
    this.kept = new Map();
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
    this.kept.clear();
    this.isLimited = false;
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

  // An answer with its text, for digits that an object can't hold.
  async text(path, signal) {
    const { body, text } = await this.told(path, { signal });
    return { body, text };
  }

  post(path, body) {
    return this.ask(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });
  }

  async ask(path, options) {
    return (await this.told(path, options)).body;
  }

  async told(path, options) {
    let reply;
    let text;
    // One signal for both: signals that are made of others are kept as long as those live.
    const ending = new AbortController();
    const end = () => ending.abort();
    if (options.signal?.aborted) end();
    options.signal?.addEventListener("abort", end);
    const timer = options.method === "POST" ? null : setTimeout(() => ending.abort(new DOMException("", "TimeoutError")), LONGEST_READ_MS);
    try {
      reply = await this.fetch(path, { ...options, signal: ending.signal });
      text = await reply.text();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, { message: "The server can't be reached." });
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", end);
    }
    // Where requests are counted, replies tell how many are left.
    this.isLimited = reply.headers.has("ratelimit");
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
    return { body, text };
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

const NOTHING = { wanted: null, place: null, addresses: {}, data: {}, errors: {}, times: {} };
// After these an old answer is no answer any more.
const GONE = [401, 403, 404];

// What is still right for new addresses: answers at the same addresses, and all while the page's own address stays the same.
// Then only the clock moved what is asked, and the old answers are shown until the new ones come.
function kept(held, addresses, place) {
  const names = Object.keys(addresses).filter(
    (name) => held.place === place || JSON.stringify(held.addresses[name]) === JSON.stringify(addresses[name]),
  );
  const of = (values) => Object.fromEntries(names.filter((name) => name in values).map((name) => [name, values[name]]));
  return { data: of(held.data), errors: of(held.errors), times: of(held.times) };
}

const without = (values, name) => Object.fromEntries(Object.entries(values).filter(([other]) => other !== name));

// The answers at some addresses. While new ones are read, the old ones stay; after a failure they are asked again.
// Answers that take longer than changes come are waited for, and only then asked anew: else none would ever arrive.
// Args: addresses by name, of all pages of a list as { rows: address }, of an answer with its text as { text: address };
// tick: a number that changes when the data may have changed. Returns data, errors and times (ms, of the last answer) by name.
export function useAnswers(session, addresses, tick = 0) {
  const wanted = JSON.stringify(addresses);
  const place = location.search;
  const [held, hold] = useState(NOTHING);
  const round = useRef(null);
  useEffect(() => hold((before) => (before.wanted === wanted ? { ...before, place } : before)), [place]);
  useEffect(() => {
    round.current = { ...followed(session, addresses, { wanted, place }, hold), tick };
    return () => round.current.stop();
  }, [session, wanted]);
  useEffect(() => {
    // The first look at new addresses is already as new as this tick.
    if (round.current.tick === tick) return;
    round.current.tick = tick;
    round.current.again();
  }, [tick]);
  return held.wanted === wanted ? held : { ...kept(held, addresses, place), isLoading: true };
}

// Asks the addresses now, and once more whenever `again` is called; never twice at the same time.
function followed(session, addresses, { wanted, place }, hold) {
  const stopping = new AbortController();
  const names = Object.keys(addresses);
  let timer = null;
  let left = 0;
  let isStale = false;
  const asked = (address) => {
    if (address.rows) return session.rows(address.rows, stopping.signal);
    return address.text ? session.text(address.text, stopping.signal) : session.get(address, stopping.signal);
  };
  const ask = () => {
    clearTimeout(timer);
    isStale = false;
    left = names.length;
    const failures = [];
    hold((before) => ({
      ...(before.wanted === wanted ? before : { wanted, place, addresses, ...kept(before, addresses, place) }),
      isLoading: left > 0,
    }));
    for (const name of names) {
      asked(addresses[name])
        .then(
          (body) => (before) => ({
            data: { ...before.data, [name]: body },
            errors: without(before.errors, name),
            times: { ...before.times, [name]: Date.now() },
          }),
          (error) => {
            failures.push(error);
            return (before) => ({
              data: GONE.includes(error.status) ? without(before.data, name) : before.data,
              errors: { ...before.errors, [name]: error },
            });
          },
        )
        .then((changed) => {
          if (stopping.signal.aborted) return;
          left -= 1;
          const isLoading = left > 0;
          hold((before) => ({ ...before, ...changed(before), isLoading }));
          if (left > 0) return;
          if (isStale) ask();
          else retryLater(failures);
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
