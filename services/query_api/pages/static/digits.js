// Numbers in the API's own digits, and JSON as text: JSON.parse alone alters long integers, and 1.0.

// A number that JavaScript would write in other digits than the API did.
class Exact extends Number {
  constructor(value, source) {
    super(value);
    this.source = source;
  }
}

// A number that JavaScript might write in other digits; texts may hold the like, which costs a little time.
const ODD = /[:[,]\s*-?(?:\d{16}|(?=\d+\.\d)[\d.]{17}|\d+\.(?:\d*0(?!\d)|0{6})|\d+(?:\.\d+)?[eE]|(?<=-)0(?![\d.]))/;

// To look at each value takes many times the memory, and hardly any answer needs it.
export function read(text) {
  if (!ODD.test(text)) return JSON.parse(text);
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

const PLAIN = /^-?\d+(\.\d+)?$/;

// The exact sum of figures, in digits; of one figure the digits that it came in, of none null.
export function exactSum(values) {
  const told = values.map(exact).filter(Boolean);
  if (told.length < 2) return told[0] ?? null;
  if (!told.every((text) => PLAIN.test(text))) return String(told.reduce((all, text) => all + Number(text), 0));
  const places = Math.max(...told.map((text) => text.split(".")[1]?.length ?? 0));
  const parts = told.map((text) => text.split(".")).map(([whole, part = ""]) => BigInt(whole + part.padEnd(places, "0")));
  const sum = parts.reduce((all, part) => all + part, 0n);
  const digits = String(sum < 0n ? -sum : sum).padStart(places + 1, "0");
  const cut = digits.length - places;
  return `${sum < 0n ? "-" : ""}${digits.slice(0, cut)}${places ? `.${digits.slice(cut)}` : ""}`;
}

const BLANKS = /[ \t\r\n]*/y;
const LITERAL = /[^\s,:[\]{}"]+/y;

function behind(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at + 1;
}

const past = (text, at) => behind(BLANKS, text, at);

// The place behind a token: a string, a sign, or a number or word.
function endOfToken(text, at) {
  if (text[at] !== '"') return behind(LITERAL, text, at);
  for (let end = text.indexOf('"', at + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let slashes = 0;
    while (text[end - 1 - slashes] === "\\") slashes += 1;
    if (slashes % 2 === 0) return end + 1;
  }
  return text.length;
}

function endOfValue(text, start) {
  let at = start;
  for (let depth = 0; ; at = past(text, at)) {
    if (text[at] === "{" || text[at] === "[") depth += 1;
    else if (text[at] === "}" || text[at] === "]") depth -= 1;
    at = endOfToken(text, at);
    if (depth <= 0 || at >= text.length) return at;
  }
}

// The members of an object or a list, each as its name or number and its text. Args: text: JSON that was parsed before.
export function* members(text) {
  let at = past(text, 0);
  const isList = text[at] === "[";
  at = past(text, at + 1);
  for (let number = 0; at < text.length && text[at] !== "}" && text[at] !== "]"; number += 1) {
    let name = number;
    if (!isList) {
      const end = endOfToken(text, at);
      name = JSON.parse(text.slice(at, end));
      at = past(text, past(text, end) + 1);
    }
    const end = endOfValue(text, at);
    yield [name, text.slice(at, end)];
    at = past(text, end);
    if (text[at] === ",") at = past(text, at + 1);
  }
}

// The text of one member; of several with this name the last, as JSON.parse takes them.
export function member(text, name) {
  let found;
  for (const [held, value] of members(text)) if (held === name) found = value;
  return found;
}

// JSON in lines and steps for people; each number, string and name stays as it came.
export function indented(text) {
  const parts = [];
  let depth = 0;
  const line = () => parts.push(`\n${"  ".repeat(depth)}`);
  for (let at = past(text, 0); at < text.length; ) {
    const end = endOfToken(text, at);
    const token = text.slice(at, end);
    const next = past(text, end);
    if (token === "{" || token === "[") {
      parts.push(token);
      depth += 1;
      if (text[next] !== "}" && text[next] !== "]") line();
    } else if (token === "}" || token === "]") {
      depth -= 1;
      if (!["{", "["].includes(parts.at(-1))) line();
      parts.push(token);
    } else if (token === ",") {
      parts.push(token);
      line();
    } else parts.push(token === ":" ? ": " : token);
    at = next;
  }
  return parts.join("");
}
