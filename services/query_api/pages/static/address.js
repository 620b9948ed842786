// What a view shows is held by its address, so that a view is a link.
import { useEffect, useState } from "./view.js";

const CHANGED = "tidemark:address";
// How long a view may take until it is as long as it was when somebody left it.
const LONGEST_RETURN_MS = 10_000;
// Browsers refuse more than some writes a second.
const STILL_MS = 200;
const OWN_WAY = ["wheel", "touchmove", "keydown", "pointerdown"];
const ID = /^[A-Za-z0-9._:-]{1,128}$/;

// Channels may be named with commas between them, or one by one.
export function parameters() {
  const query = new URLSearchParams(location.search);
  const channels = query.getAll("channels").join();
  return { ...Object.fromEntries(query), ...(channels ? { channels } : {}) };
}

// Whether a text can be the id of something in a path of the API. A browser takes "." and ".." out of each path.
export const isId = (text) => ID.test(text) && text !== "." && text !== "..";

// What a view is about: all else in an address says how to show it.
export const placeOf = (held) => `${held.view ?? ""}/${held.post ?? ""}/${held.channel ?? ""}`;

// The address of the same page with some parameters changed; null or "" takes a parameter away.
export function addressWith(changes, base = parameters()) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...base, ...changes })) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return text ? `${location.pathname}?${text}` : location.pathname;
}

// How far each entry of the history was scrolled. The browser's own memory fails: a view is short until its answers come.
const scrolled = new Map();
let made = 0;
let writing = 0;
let returning = null;
let isBack = false;
const newEntry = () => `${performance.timeOrigin}/${(made += 1)}`;
let entry = history.state?.entry ?? newEntry();

// Whether the view was reached by Back or Forward.
export const wasReturned = () => isBack;

export function go(address, { replaces = false } = {}) {
  const before = placeOf(parameters());
  returning?.();
  isBack = false;
  if (!replaces) {
    scrolled.set(entry, scrollY);
    writePlace();
    entry = newEntry();
  }
  history[replaces ? "replaceState" : "pushState"]({ entry }, "", address);
  dispatchEvent(new Event(CHANGED));
  if (placeOf(parameters()) !== before) scrollTo(0, 0);
}

// Scrolls as the view grows, until it is as long as it was, or somebody scrolls or types. A page that was just loaded
// has neither a view nor a sign that one is loading.
function scrollBack(to) {
  returning?.();
  // A view that was left at its top stays there: to look at each frame would cost memory and layouts for nothing.
  if (to < 1) {
    scrollTo(0, 0);
    return;
  }
  const until = performance.now() + LONGEST_RETURN_MS;
  let frame = 0;
  const stop = () => {
    cancelAnimationFrame(frame);
    OWN_WAY.forEach((name) => removeEventListener(name, stop, true));
    returning = null;
  };
  const step = () => {
    scrollTo(0, to);
    const isThere = scrollY >= to - 1 && !document.querySelector("main .loading");
    if (isThere || performance.now() > until) stop();
    else frame = requestAnimationFrame(step);
  };
  OWN_WAY.forEach((name) => addEventListener(name, stop, { capture: true, passive: true }));
  returning = stop;
  frame = requestAnimationFrame(step);
}

// A reload forgets all but the entry's own state, and is too late to write to it.
function writePlace() {
  clearTimeout(writing);
  history.replaceState({ entry, scrolled: scrolled.get(entry) ?? 0 }, "");
}

function keepPlace() {
  scrolled.set(entry, scrollY);
  clearTimeout(writing);
  writing = setTimeout(writePlace, STILL_MS);
}

// Follows links of the page without loading it anew, and keeps how far each view was scrolled.
export function followLinks() {
  addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    if (link.target || link.origin !== location.origin || link.pathname !== location.pathname) return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
  history.scrollRestoration = "manual";
  if (history.state?.scrolled) scrollBack(history.state.scrolled);
  else history.replaceState({ entry }, "");
  addEventListener("scroll", () => returning || keepPlace(), { passive: true });
  addEventListener("popstate", (event) => {
    isBack = true;
    entry = event.state?.entry ?? newEntry();
    scrollBack(scrolled.get(entry) ?? event.state?.scrolled ?? 0);
  });
}

export function useParameters() {
  const [held, hold] = useState(parameters);
  useEffect(() => {
    const changed = () => hold(parameters());
    addEventListener(CHANGED, changed);
    addEventListener("popstate", changed);
    return () => {
      removeEventListener(CHANGED, changed);
      removeEventListener("popstate", changed);
    };
  }, []);
  return held;
}
