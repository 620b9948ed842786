// What a view shows is held by its address, so that a view is a link.
import { useEffect, useState } from "./view.js";

const CHANGED = "tidemark:address";

// Channels may be named with commas between them, or one by one.
export function parameters() {
  const query = new URLSearchParams(location.search);
  const channels = query.getAll("channels").join();
  return { ...Object.fromEntries(query), ...(channels ? { channels } : {}) };
}

// The address of the same page with some parameters changed; null or "" takes a parameter away.
export function addressWith(changes, base = parameters()) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...base, ...changes })) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return text ? `${location.pathname}?${text}` : location.pathname;
}

export function go(address, { replaces = false } = {}) {
  history[replaces ? "replaceState" : "pushState"](null, "", address);
  dispatchEvent(new Event(CHANGED));
}

// Follows links of the page without loading it anew.
export function followLinks() {
  addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    if (link.target || link.origin !== location.origin || link.pathname !== location.pathname) return;
    event.preventDefault();
    const moves = parameters().view !== Object.fromEntries(new URLSearchParams(link.search)).view;
    go(link.pathname + link.search);
    if (moves) scrollTo(0, 0);
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
