// Parts that all views share: figures with their exact values, small lines, notices, and the frame of a page.
import { addressWith, parameters, wasReturned } from "./address.js";
import { useMoving } from "./clock.js";
import { exact } from "./digits.js";
import { html, useEffect, useRef, useState } from "./view.js";
import { ago, due, figureText, platformName, reasonWords, signed } from "./words.js";

// A figure with the API's exact value; of a null the reason. Args: text: what is shown in place of the value's own words.
export function Figure({ metric, value, reason, short, isSigned, text, class: name }) {
  if (value === null || value === undefined) {
    return html`<span
      class=${`figure none ${name ?? ""}`}
      data-metric=${metric}
      data-value=""
      data-reason=${reason ?? "pending"}
      title=${reasonWords(reason ?? "pending")}
      >${text ?? "–"}<span class="hidden"> ${reasonWords(reason ?? "pending")}</span></span
    >`;
  }
  return html`<span
    class=${`figure ${name ?? ""}`}
    data-metric=${metric}
    data-value=${exact(value)}
    title=${short ? figureText(metric, value) : null}
    >${text ?? (isSigned ? signed.format(Number(value)) : figureText(metric, value, short))}</span
  >`;
}

// A figure with the noun that it counts.
export const Counted = ({ metric, value, one, many = `${one}s` }) =>
  html`<${Figure} metric=${metric} value=${value} /> ${Number(value) === 1 ? one : many}`;

// How long ago an instant was, and when the next poll is: both move with the page's clock.
export const Ago = ({ at }) => useMoving(() => ago(at));
export const Due = ({ at }) => useMoving(() => due(at));

// Whether something without a figure was polled, and refused.
export const isRefused = (reasons) => Object.values(reasons ?? {}).some((reason) => reason === "error" || reason === "permission");

// How fresh a post or a channel is. Args: end: words for one that is not polled any more.
export const Fresh = ({ of: { captured_at: at, next_poll_at: next, reasons }, end = "" }) => html`<p class="fresh quiet">
  ${at ? html`As of <${Ago} at=${at} />` : isRefused(reasons) ? "No figure yet: the platform refused the last poll" : "Not polled yet"}${next ? html`; <${NextPoll} at=${next} />` : end}</p>`;

export const NextPoll = ({ at }) => useMoving(() => (due(at) === "due" ? "next poll is due" : `next poll ${due(at)}`));

// The heading of a view, with what stands beside it. After a navigation the heading has the focus.
export const Title = ({ text, children }) => html`<div class="title"><h1 tabindex="-1">${text}</h1>${children}</div>`;

// The name of an account as its owner wrote it; a text that runs from right to left stays within its place.
export const Name = ({ of: one }) => html`<bdi>${one.username || one.id || one.channel_id}</bdi>`;

// A button that keeps the focus while it can't be used, as a disabled one does not. Args: place: a ref of the button.
export const Button = ({ isOff, onClick, place, children, ...more }) =>
  html`<button type="button" aria-disabled=${isOff ? "true" : null} ref=${place} onClick=${(event) => !isOff && onClick(event)} ...${more}>${children}</button>`;

// The name of the page in the browser. Args: text: null leaves the name to a part of the view.
export function useTitle(text, page = "Tidemark") {
  useEffect(() => {
    if (text !== null) document.title = `${text} · ${page}`;
  }, [text]);
}

export function Change({ value, reason }) {
  if (value === null || value === undefined) {
    return html`<${Figure} metric="change" value=${null} reason=${reason ?? "no_base"} class="change" />`;
  }
  const number = Number(value);
  const direction = number > 0 ? "up" : number < 0 ? "down" : "same";
  return html`<span class=${`change ${direction}`}
    ><${Figure} metric="change" value=${value} /></span>`;
}

// A small line without axes; gaps where nothing is known.
export function Sparkline({ values, label }) {
  const width = 120;
  const height = 32;
  const known = values.map((value) => (value === null || value === undefined ? null : Number(value)));
  const numbers = known.filter((value) => value !== null);
  if (numbers.length < 2) return html`<svg class="spark" viewBox="0 0 120 32" aria-hidden="true"></svg>`;
  const low = Math.min(0, ...numbers);
  const high = Math.max(...numbers, low + 1);
  const x = (place) => (place / Math.max(1, known.length - 1)) * (width - 4) + 2;
  const y = (value) => height - 3 - ((value - low) / (high - low)) * (height - 6);
  const runs = [];
  let run = [];
  known.forEach((value, place) => {
    if (value === null) {
      if (run.length) runs.push(run);
      run = [];
    } else run.push([x(place), y(value)]);
  });
  if (run.length) runs.push(run);
  const text = (points) => points.map(([a, b], n) => `${n ? "L" : "M"}${a.toFixed(1)} ${b.toFixed(1)}`).join("");
  return html`<svg class="spark" viewBox=${`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label=${label}>
    ${runs.map(
      (points) => html`
        <path class="area" d=${`${text(points)}L${points.at(-1)[0].toFixed(1)} ${height}L${points[0][0].toFixed(1)} ${height}Z`} />
        <path class="line" d=${text(points)} />
      `,
    )}
  </svg>`;
}

export function Platform({ name, isBare }) {
  const shown = platformName(name);
  return html`<span class=${`platform p-${name.replaceAll(/[^a-z0-9]/g, "-")}`}
    ><span class="mark" aria-hidden="true">${shown.slice(0, 2)}</span>${isBare
      ? html`<span class="hidden">${shown}</span>`
      : html`<span>${shown}</span>`}</span
  >`;
}

// What went wrong with an answer, in words, with what happens next.
// Args: missing: what to say of a thing that is not there, in two sentences; what: what can't be had while it is 503.
export function Problem({ error, isOnce, missing, what }) {
  const again = isOnce ? "" : error.retryAfter ? ` Trying again in ${error.retryAfter} s.` : " Trying again in a few seconds.";
  const words = {
    0: ["The server can't be reached.", again],
    403: ["This key may not read analytics.", " It needs the scope analytics:read."],
    404: missing ?? ["There is nothing here.", " It does not exist, or was deleted."],
    422: [error.message, ""],
    429: ["Too many requests with this key.", again],
    503: what ? [`${what} can't be read right now.`, ` ${error.message}${again}`] : ["The figures are not available right now.", ` The database behind them does not answer.${again}`],
  }[error.code === "dead_letters_unavailable" ? "told" : error.status] ?? [error.message, again];
  return html`<div class="notice bad" role="status" data-status=${error.status}>
    <strong>${words[0]}</strong>${words[1]}
  </div>`;
}

export function Problems({ errors, missing }) {
  const seen = new Map(Object.values(errors).map((error) => [`${error.status}${error.message}`, error]));
  return [...seen.values()].map((error) => html`<${Problem} error=${error} missing=${missing} />`);
}

const ELSEWHERE = " It does not exist in this workspace, or was deleted.";
export const NO_POST = ["There is no such post.", ELSEWHERE];
export const NO_CHANNEL = ["There is no such channel.", ELSEWHERE];
export const NO_CHOSEN = ["There is nothing here.", " A chosen channel does not exist in this workspace, or was deleted: take it out under Channels."];

// In place of a view of something whose id can't be one.
export const Missing = ({ text, words, back }) => {
  useTitle(text);
  return html`${back}<${Title} text=${text} /><${Problem} error=${{ status: 404 }} missing=${words} />`;
};

export const Loading = ({ lines = 3 }) =>
  html`<div class="loading" role="status"><span class="hidden">Loading</span>${Array.from({ length: lines }, () => html`<i></i>`)}</div>`;

// In place of something that is not there yet, or can't be had.
export const Waiting = ({ error, lines }) =>
  error ? html`<p class="quiet">Not available right now.</p>` : html`<${Loading} lines=${lines ?? 3} />`;

export const Empty = ({ title, children }) =>
  html`<div class="empty"><strong>${title}</strong><p>${children}</p></div>`;

export function Card({ title, note, children, class: name, actions }) {
  return html`<section class=${`card ${name ?? ""}`}>
    ${title &&
    html`<header><h2>${title}</h2>${note && html`<p class="quiet">${note}</p>`}${actions}</header>`}
    ${children}
  </section>`;
}

// A choice of one of some values; each is a link, so that it can be opened and shared.
export function Choice({ name, options, chosen, label }) {
  return html`<div class="choice" role="group" aria-label=${label}>
    ${options.map(
      ([value, text]) =>
        html`<a
          href=${addressWith({ [name]: value, cursor: null, ...(name === "range" ? { from: null, to: null } : {}) })}
          aria-current=${value === chosen ? "true" : null}
          >${text}</a
        >`,
    )}
  </div>`;
}

// By keys each value on the way is chosen: all of one visit are one step of the history.
// Args: onChange: takes the value, and how to go there; onReach: called before somebody can open the list.
export function Select({ label, value, options, onChange, onReach, isHidden }) {
  const isVisited = useRef(false);
  const choose = (event) => {
    const replaces = isVisited.current && !wasReturned();
    isVisited.current = true;
    onChange(event.target.value, { replaces });
  };
  return html`<label class="field"
    ><span class=${isHidden ? "hidden" : ""}>${label}</span>
    <select value=${value} onChange=${choose} onBlur=${() => (isVisited.current = false)} onFocus=${onReach} onPointerEnter=${onReach} onPointerDown=${onReach}>
      ${options.map(([key, text]) => html`<option value=${key} selected=${key === value}>${text}</option>`)}
    </select></label
  >`;
}

// Asks for a key, and tries it before the page is shown.
export function SignIn({ title, note, field, check, refused }) {
  const [key, type] = useState("");
  const [problem, say] = useState(refused);
  const [isBusy, busy] = useState(false);
  const input = useRef();
  useTitle(title);
  useEffect(() => input.current?.focus(), []);
  const submit = async (event) => {
    event.preventDefault();
    const text = key.trim();
    if (!text) return say("Type or paste a key first.");
    if (!/^[\x21-\x7e]+$/.test(text)) return say("A key has no spaces and no letters with accents.");
    busy(true);
    say(null);
    try {
      await check(text);
    } catch (error) {
      say(
        error.status === 401
          ? "This key is not known. Check that all of it was copied."
          : error.status === 403
            ? "This key may not read analytics: it needs the scope analytics:read."
            : error.message,
      );
      busy(false);
      input.current?.focus();
    }
    return undefined;
  };
  return html`<main class="signin">
    <form onSubmit=${submit}>
      <div class="brand"><${Logo} /> Tidemark</div>
      <h1>${title}</h1>
      <p class="quiet">${note}</p>
      <label for="key">${field}</label>
      <input
        id="key"
        ref=${input}
        type="password"
        autocomplete="off"
        spellcheck="false"
        value=${key}
        onInput=${(event) => type(event.target.value)}
        aria-describedby=${problem ? "problem" : null}
        aria-invalid=${problem ? "true" : null}
      />
      ${problem && html`<p id="problem" class="notice bad" role="alert">${problem}</p>`}
      <button type="submit" disabled=${isBusy}>Sign in</button>
      <p class="quiet small">The key stays in this tab and is forgotten when the tab closes.</p>
    </form>
  </main>`;
}

export const Logo = () => html`<svg viewBox="0 0 32 32" width="24" height="24" aria-hidden="true">
  <rect width="32" height="32" rx="8" class="logo-ground" />
  <path d="M4 20c4 0 4-4 8-4s4 4 8 4 4-4 8-4" class="logo-line" />
  <path d="M4 12c4 0 4-4 8-4s4 4 8 4 4-4 8-4" class="logo-line soft" />
</svg>`;

// Args: place: what the view is about; isFresh: somebody signed in just now.
export function Frame({ links, current, place, isFresh, children, onSignOut, status }) {
  const views = useRef();
  const last = useRef(isFresh ? null : place);
  useEffect(() => {
    if (last.current !== place) document.querySelector("main h1")?.focus({ preventScroll: true });
    last.current = place;
  }, [place]);
  useEffect(() => {
    // On a narrow screen the links scroll: the current one is brought into sight.
    const link = views.current?.querySelector("[aria-current]");
    if (link) views.current.scrollLeft = link.offsetLeft - (views.current.clientWidth - link.offsetWidth) / 2;
  }, [current]);
  return html`<a class="skip" href="#content" onClick=${(event) => {
      event.preventDefault();
      document.getElementById("content").focus();
    }}>To the content</a>
    <header class="top">
      <a class="brand" href=${location.pathname}><${Logo} /><span>Tidemark</span></a>
      <nav aria-label="Views" ref=${views}>
        ${links.map(
          ([view, text]) =>
            html`<a href=${addressWith({ view }, kept())} aria-current=${view === current ? "page" : null}>${text}</a>`,
        )}
      </nav>
      <div class="session">${status}<button class="plain" onClick=${onSignOut}>Sign out</button></div>
    </header>
    <main id="content" tabindex="-1">${children}</main>`;
}

// Parameters that go from view to view.
function kept() {
  const held = parameters();
  return Object.fromEntries(
    ["range", "from", "to", "zone", "channels"].filter((name) => held[name]).map((name) => [name, held[name]]),
  );
}
