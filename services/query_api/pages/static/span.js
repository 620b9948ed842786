// The span of time, the zone and the channels that the address asks for.
import { addressWith, go } from "./address.js";
import { Choice, Select } from "./parts.js";
import { ChannelPicker } from "./picker.js";
import { html, useEffect, useRef, useState } from "./view.js";

export const OWN_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
const DAY_SECONDS = 86_400;
const RANGES = [["24h", "24 h"], ["7d", "7 days"], ["28d", "28 days"], ["90d", "90 days"]];
const FIRST_DATE = "1970-01-02";
const LAST_DATE = "2199-12-29";
const DATE = /^\d{4}-\d{2}-\d{2}$/;

function dateIn(zone, at) {
  return new Intl.DateTimeFormat("en-CA", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" }).format(at);
}

function nextDate(date, days = 1) {
  const [year, month, day] = date.split("-").map(Number);
  return new Date(Date.UTC(year, month - 1, day + days)).toISOString().slice(0, 10);
}

// A date that exists and that the API knows, in every zone and with the day after it; an address may say anything.
function isDate(text) {
  return DATE.test(text ?? "") && text >= FIRST_DATE && text <= LAST_DATE && !Number.isNaN(Date.parse(text)) && nextDate(text, 0) === text;
}

// The zone that a text names, as the API spells it; null where there is none. Whole hours of UTC have names, others don't.
export function knownZone(text) {
  // An unescaped + in an address arrives as a space.
  const [, sign, hours, minutes] = /^([ +-])(\d\d?)(?::?(\d\d))?$/.exec(text) ?? [];
  const isWhole = hours && Number(minutes ?? 0) === 0;
  if (hours && !isWhole) return null;
  const name = isWhole && Number(hours) ? `Etc/GMT${sign === "-" ? "+" : "-"}${Number(hours)}` : isWhole ? "UTC" : text;
  try {
    return new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions().timeZone;
  } catch {
    return null;
  }
}

// The zone of an address; one that is none leaves the view in the browser's own.
export const zoneOf = (held) => (held.zone && knownZone(held.zone)) || OWN_ZONE;

// What the API is asked: `from`, `to` and `tz`, with the step of a series.
export function spanOf(held, fallback = "28d", now = Date.now()) {
  const zone = zoneOf(held);
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
    const at = Date.parse(`${date}T00:00:00Z`);
    // By the clock before a change: so the first of two midnights counts, and where there is none the change itself, as in the API.
    const before = at - offset(span.zone, at - DAY_SECONDS * 1000);
    const after = at - offset(span.zone, at + DAY_SECONDS * 1000);
    const isBehind = at - offset(span.zone, before) !== before && at - offset(span.zone, after) === after;
    return String((isBehind ? after : before) / 1000);
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
  return [...new Set([chosen, OWN_ZONE, "UTC", ...known])].map((name) => [name, zoneName(name)]);
}

// The names of whole hours have their signs turned.
function zoneName(name) {
  const [, sign, hours] = /^Etc\/GMT([+-])(\d+)$/.exec(name) ?? [];
  return hours ? `UTC${sign === "+" ? "-" : "+"}${hours}` : name.replaceAll("_", " ");
}

// What an address asks for and can't have.
function misread(held, span) {
  const words = [];
  if (held.zone && !knownZone(held.zone)) words.push(`There is no time zone “${held.zone}”: times are in ${zoneName(span.zone)}.`);
  if ((held.from || held.to) && span.range !== "custom") words.push("A range needs two dates that exist, from and to, of 1970 to 2199: another range is shown.");
  else if (held.range && !RANGES.some(([name]) => name === held.range)) words.push(`There is no range “${held.range}”: another range is shown.`);
  return words;
}

// A date that is taken once somebody is done with it: while a year is typed, each digit makes another date.
function DateField({ label, value, onTake }) {
  const [text, type] = useState(value);
  const isTyped = useRef(false);
  useEffect(() => type(value), [value]);
  const take = (taken) => {
    isTyped.current = false;
    if (isDate(taken) && taken !== value) onTake(taken);
    else type(value);
  };
  return html`<label class="field">${label} <input type="date" min=${FIRST_DATE} max=${LAST_DATE} value=${text}
    onInput=${(event) => type(event.target.value)}
    onKeyDown=${(event) => (event.key === "Enter" ? take(event.target.value) : (isTyped.current = event.key !== "Tab" || isTyped.current))}
    onChange=${(event) => isTyped.current || take(event.target.value)}
    onBlur=${(event) => isTyped.current && take(event.target.value)} /></label>`;
}

// The bar of choices over a view.
export function SpanBar({ held, span, channels, hasChannel = true, children }) {
  // Some hundred options take longer to make than all the rest of a view, and are few people's wish.
  const [areAll, reach] = useState(false);
  const pick = (name, value) => {
    const dates = { from: held.from || span.from, to: held.to || span.last || dateIn(span.zone, Date.now()), [name]: value };
    if (!isDate(dates.from)) dates.from = nextDate(dateIn(span.zone, Date.now()), -1);
    // One visit to ranges of one's own is one step back.
    go(addressWith({ cursor: null, ...dates, range: null }), { replaces: span.range === "custom" });
  };
  return html`<div class="bar">
    <${Choice}
      name="range"
      label="Range"
      chosen=${span.range}
      options=${RANGES}
    />
    <details class="dates" open=${span.range === "custom"}>
      <summary class=${span.range === "custom" ? "chosen" : null}>Custom</summary>
      <${DateField} label="From" value=${isDate(held.from) ? held.from : ""} onTake=${(date) => pick("from", date)} />
      <${DateField} label="To" value=${isDate(held.to) ? held.to : ""} onTake=${(date) => pick("to", date)} />
    </details>
    ${hasChannel && html`<${ChannelPicker} held=${held} channels=${channels} />`}
    <${Select} label="Time zone" isHidden value=${span.zone} options=${zones(span.zone, areAll)} onReach=${() => reach(true)} onChange=${(value, how) => go(addressWith({ cursor: null, zone: value === OWN_ZONE ? null : value }), how)} />
    ${children}
  </div>
  ${misread(held, span).map((text) => html`<p class="notice warn" role="status" key=${text}>${text}</p>`)}`;
}
