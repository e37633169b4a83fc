// How values read to a person.

/** @type {[number, string][]} */
const UNITS = [
  [31557600, "year"],
  [86400, "day"],
  [3600, "hour"],
  [60, "minute"],
];
const DAY = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });
const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

const DATE = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const EXACT = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const SHORT = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

/** `3 minutes ago`; `in 2 days`; "never" for null. */
export function ago(seconds, now = Date.now() / 1000) {
  if (seconds === null || seconds === undefined) return "never";
  const passed = now - seconds;
  for (const [size, unit] of UNITS) {
    if (Math.abs(passed) >= size) {
      const number = Math.floor(Math.abs(passed) / size);
      const words = `${number} ${unit}${number === 1 ? "" : "s"}`;
      return passed > 0 ? `${words} ago` : `in ${words}`;
    }
  }
  return passed >= 0 ? "just now" : "in a moment";
}

/** `24 Nov 2026`; "" for null. */
export function day(seconds) {
  return seconds ? DAY.format(seconds * 1000) : "";
}

/** The date and the time. */
export function moment(seconds) {
  return seconds ? MOMENT.format(seconds * 1000) : "";
}

/** `rpm 60, tpm 200k, gpt-5*: rpm 10`, budgets behind; "" for none. */
export function bounds(one) {
  const words = limitWords(one.limits ?? {});
  for (const [pattern, inner] of Object.entries(one.limits?.models ?? {})) {
    words.push(`${pattern}: ${limitWords(inner).join(" ")}`);
  }
  return [...words, ...(one.budget ?? [])].join(", ");
}

function limitWords(limits) {
  return Object.entries(limits)
    .filter(([name]) => name !== "models")
    .map(([name, amount]) => `${name} ${amount}`);
}

/** `1 key`, `2 keys`. */
export function counted(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** `1.2M`, `350k`, `12`. */
export function short(number) {
  return SHORT.format(number);
}

/** `12 s`, `3 min`. */
export function lasting(seconds) {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
}

/** `80 ms`, `2.4 s`, `31 s`, `4 min`, `3 h`, `2 d`; "" for null. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.ceil(seconds)} s`;
  if (seconds / 60 < 120) return `${Math.ceil(seconds / 60)} min`;
  if (seconds / 3600 < 48) return `${Math.ceil(seconds / 3600)} h`;
  return `${Math.ceil(seconds / 86400)} d`;
}

/** `$12.30`, `$0.0042`, "unknown". */
export function money(dollars) {
  if (dollars === null || dollars === undefined) return "unknown";
  if (dollars > 0 && dollars < 0.0001) return "<$0.0001";
  return `$${dollars >= 1 || !dollars ? EXACT.format(dollars) : dollars.toFixed(4)}`;
}

/** `1.2M`, "unknown". */
export function tokens(number) {
  return number === null || number === undefined ? "unknown" : short(number);
}

/** `12%`, "<1%"; "" for null. */
export function percent(part) {
  if (part === null || part === undefined) return "";
  return part > 0 && part < 0.01 ? "<1%" : `${Math.round(part * 100)}%`;
}

/** `Nov 24` of `2026-11-24`. */
export function date(iso) {
  return DATE.format(new Date(`${iso}T12:00:00`));
}
