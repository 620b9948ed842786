// The span of time, the zone and the channels that the address asks for.
import { addressWith, go } from "./address.js";
import { Choice, Select } from "./parts.js";
import { ChannelPicker } from "./picker.js";
import { html, useState } from "./view.js";

export const OWN_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
const DAY_SECONDS = 86_400;
const RANGES = [["24h", "24 h"], ["7d", "7 days"], ["28d", "28 days"], ["90d", "90 days"]];
const DATE = /^\d{4}-\d{2}-\d{2}$/;

function dateIn(zone, at) {
  return new Intl.DateTimeFormat("en-CA", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" }).format(at);
}

function nextDate(date, days = 1) {
  const [year, month, day] = date.split("-").map(Number);
  return new Date(Date.UTC(year, month - 1, day + days)).toISOString().slice(0, 10);
}

// A date that exists, of four digits a year also a day later; an address may say anything.
function isDate(text) {
  return DATE.test(text ?? "") && text < "9999" && !Number.isNaN(Date.parse(text)) && nextDate(text, 0) === text;
}

export function validZone(name) {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return name;
  } catch {
    return OWN_ZONE;
  }
}

// What the API is asked: `from`, `to` and `tz`, with the step of a series.
export function spanOf(held, fallback = "28d", now = Date.now()) {
  const zone = validZone(held.zone || OWN_ZONE);
  if (isDate(held.from) && isDate(held.to)) {
    // In their order, whichever was typed first: another range than the address names would mislead.
    const [from, last] = [held.from, held.to].sort();
    const days = (Date.parse(last) - Date.parse(from)) / 1000 / DAY_SECONDS + 1;
    return { range: "custom", from, to: nextDate(last), last, zone, step: days <= 3 ? "hour" : "day" };
  }
  const range = RANGES.some(([name]) => name === held.range) ? held.range : fallback;
  if (range === "24h") {
    // To the minute, so that what is asked stays the same between two looks.
    const from = Math.floor(now / 60_000) * 60 - DAY_SECONDS;
    return { range, from: String(from), to: null, zone, step: "hour" };
  }
  const days = Number.parseInt(range, 10);
  return { range, from: nextDate(dateIn(zone, now), 1 - days), to: null, zone, step: "day" };
}

// `from`, `to` and `tz` as instants, for endpoints without a zone.
export function instantsOf(span) {
  const midnight = (date) => {
    let at = Date.parse(`${date}T00:00:00Z`);
    // Twice, since the offset at UTC's midnight may be another than at the zone's.
    for (let n = 0; n < 2; n += 1) at = Date.parse(`${date}T00:00:00Z`) - offset(span.zone, at);
    return String(at / 1000);
  };
  const instant = (value) => (value && DATE.test(value) ? midnight(value) : value);
  return { from: instant(span.from), to: instant(span.to) };
}

function offset(zone, at) {
  const parts = Object.fromEntries(
    new Intl.DateTimeFormat("en-US", {
      timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric",
    }).formatToParts(at).map(({ type, value }) => [type, Number(value)]),
  );
  return Date.UTC(parts.year, parts.month - 1, parts.day, parts.hour, parts.minute, parts.second) - Math.floor(at / 1000) * 1000;
}

function zones(chosen, areAll) {
  const known = areAll ? Intl.supportedValuesOf?.("timeZone") ?? [] : [];
  return [...new Set([chosen, OWN_ZONE, "UTC", ...known])].map((name) => [name, name.replaceAll("_", " ")]);
}

// The bar of choices over a view.
export function SpanBar({ held, span, channels, hasChannel = true, children }) {
  // Some hundred options take longer to make than all the rest of a view, and are few people's wish.
  const [areAll, reach] = useState(false);
  const set = (changes) => go(addressWith({ cursor: null, ...changes }));
  const pick = (name, value) => {
    const dates = { from: held.from || span.from, to: held.to || span.last || dateIn(span.zone, Date.now()), [name]: value };
    if (!isDate(dates.from)) dates.from = nextDate(dateIn(span.zone, Date.now()), -1);
    set({ ...dates, range: null });
  };
  return html`<div class="bar">
    <${Choice}
      name="range"
      label="Range"
      chosen=${span.range}
      options=${RANGES}
    />
    <details class="dates" open=${span.range === "custom"}>
      <summary>Custom</summary>
      <label class="field">From <input type="date" value=${isDate(held.from) ? held.from : ""} onChange=${(event) => pick("from", event.target.value)} /></label>
      <label class="field">To <input type="date" value=${isDate(held.to) ? held.to : ""} onChange=${(event) => pick("to", event.target.value)} /></label>
    </details>
    ${hasChannel && html`<${ChannelPicker} held=${held} channels=${channels} />`}
    <${Select} label="Time zone" isHidden value=${span.zone} options=${zones(span.zone, areAll)} onReach=${() => reach(true)} onChange=${(value) => set({ zone: value === OWN_ZONE ? null : value })} />
    ${children}
  </div>`;
}
