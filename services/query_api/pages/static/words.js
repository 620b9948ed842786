// Words, numbers and times for people, by the browser's language.
import { exact } from "./digits.js";

const language = navigator.languages?.[0];
const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 3 });
const short = new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1, signDisplay: "exceptZero" });
export const signed = new Intl.NumberFormat(language, { signDisplay: "exceptZero" });
const share = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 2 });
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });

export const LABELS = {
  avg_watch_time_seconds: "Average watch time",
  engagement_rate: "Engagement rate",
  engagements: "Engagements",
  impressions: "Impressions",
  other_clicks: "Other clicks",
  poll_votes: "Poll votes",
  posts_count: "Posts on platform",
  profile_clicks: "Profile clicks",
  profile_views: "Profile views",
  video_views: "Video views",
  watch_time_seconds: "Watch time",
};
export const label = (metric) => LABELS[metric] ?? metric[0].toUpperCase() + metric.slice(1).replaceAll("_", " ");

export const PLATFORMS = {
  x: "X",
  linkedin: "LinkedIn",
  instagram: "Instagram",
  tiktok: "TikTok",
  facebook: "Facebook",
  threads: "Threads",
  bluesky: "Bluesky",
  youtube: "YouTube",
  pinterest: "Pinterest",
  google_business: "Google Business",
  reddit: "Reddit",
};
export const platformName = (platform) => PLATFORMS[platform] ?? platform;

export const REASONS = {
  not_supported: "The platform does not report this figure for this post or account.",
  permission: "The last answer says that a permission, a plan or a working connection is missing.",
  pending: "No answer yet: the first poll is still to come, or there is too little data.",
  error: "The last answer of the platform was an error; the next poll tries again.",
  retired: "It is not polled any more, and this figure was never known.",
  no_answer: "No answer with this figure in this window.",
  no_growth: "No growth of this figure is known in this window: it counts from the second answer on.",
  no_base: "There is no figure of the window before to compare with.",
  no_budget: "No budget is set, so nothing can be left of it.",
  nothing_waits: "No message waits.",
  too_few: "Too few posts for a fair figure.",
  beyond: "Longer than the longest time that is told apart.",
};
export const reasonWords = (reason) => REASONS[reason] ?? "Unknown.";
// Below a figure, where many such lines stand beside each other.
const FEW_WORDS = {
  not_supported: "Not reported by the platform",
  permission: "A permission, plan or connection is missing",
  pending: "Still to come",
  error: "The last answer was an error",
  retired: "Not polled any more",
  no_answer: "No answer in this window",
  no_growth: "No growth known in this window",
};
export const fewWords = (reason) => FEW_WORDS[reason] ?? reasonWords(reason);

export const STATUSES = {
  active: ["Connected", ""],
  token_expired: ["Connection expired", "Connect the account again: its token has expired, and no refresh worked."],
  revoked: ["Access revoked", "Somebody took the access away at the platform. Connect the account again."],
  disabled: ["Switched off", "The account is not polled. Switch it on in your product."],
};

export function duration(seconds, longest = "day") {
  const value = Number(seconds);
  const units = [["day", 86_400], ["hour", 3_600], ["minute", 60]];
  for (const [unit, size] of units.slice(longest === "hour" ? 1 : 0)) {
    if (value >= size) {
      return new Intl.NumberFormat(language, { style: "unit", unit, maximumFractionDigits: 1 }).format(value / size);
    }
  }
  return new Intl.NumberFormat(language, { style: "unit", unit: "second", maximumFractionDigits: 1 }).format(value);
}

export function bytes(count) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
  const value = Number(count);
  const place = Math.min(units.length - 1, value > 0 ? Math.floor(Math.log10(value) / 3) : 0);
  return new Intl.NumberFormat(language, { style: "unit", unit: units[place], maximumFractionDigits: 1 }).format(
    value / 1000 ** place,
  );
}

// A figure in the form of its column.
export function figureText(metric, value, isShort = false) {
  if (value === null || value === undefined) return "–";
  const number = Number(value);
  if (metric.endsWith("_bytes")) return bytes(number);
  if (metric === "watch_time_seconds") return duration(number, "hour");
  if (metric.endsWith("_seconds")) return duration(number);
  if (metric.endsWith("_usd")) {
    return new Intl.NumberFormat(language, { style: "currency", currency: "USD" }).format(number);
  }
  if (metric === "engagement_rate" || metric === "share") return share.format(number);
  if (metric === "change") return percent.format(number);
  if (metric === "factor") return new Intl.NumberFormat(language).format(number);
  if (metric === "score" || metric === "ratio") {
    return `${new Intl.NumberFormat(language, { maximumSignificantDigits: 2 }).format(number)}×`;
  }
  if (isShort && Math.abs(number) >= 10_000) return short.format(number);
  // Digits beyond what a float holds are shown as the API wrote them.
  return Number.isSafeInteger(number) || !Number.isInteger(number) ? whole.format(number) : exact(value);
}

export const shortText = (value) => short.format(Number(value));

export function when(instant, zone, options = { dateStyle: "medium", timeStyle: "short" }) {
  if (!instant) return "–";
  return new Intl.DateTimeFormat(language, { ...options, timeZone: zone }).format(new Date(instant));
}

export function ago(instant, now = Date.now()) {
  if (!instant) return "never";
  const seconds = (new Date(instant).getTime() - now) / 1000;
  const units = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];
  const [unit, size] = units.find(([, length]) => Math.abs(seconds) >= length) ?? ["second", 1];
  return relative.format(Math.round(seconds / size), unit);
}

// When the next poll is: an instant that passed is due.
export const due = (instant, now = Date.now()) => (new Date(instant) < now ? "due" : ago(instant, now));

// The first words of a text that somebody wrote; "" for none.
export function firstWords(text, most) {
  const letters = [...(text ?? "").trim().split(/[\r\n]/)[0]];
  return letters.length > most ? `${letters.slice(0, most).join("").trimEnd()}…` : letters.join("");
}

export const counted = (count, one, many = `${one}s`) => `${whole.format(count)} ${count === 1 ? one : many}`;
export const weekdayName = (number, width = "short") =>
  // 1 June 2026 was a Monday.
  new Intl.DateTimeFormat(language, { weekday: width, timeZone: "UTC" }).format(new Date(Date.UTC(2026, 5, number)));
