// The rows of the editor of routes: from the API's entries, to an edit's, and as text.

import { bounds, counted } from "../format.js";

export const NO_MATCH = "matches no model that is known now";
const SHOWN = 4; // models that are named where more match

let marks = 0;

/** Returns a row for an entry, with a mark that no other row has. */
export function row(entry, index) {
  marks += 1;
  return { ...entry, mark: marks, beside: index > 0 && Boolean(entry.beside) };
}

/** Returns a row as an edit has it. */
export function sent(each) {
  const text = (value) => (value === null || value === undefined ? null : String(value));
  return {
    provider: each.provider,
    enabled: each.enabled,
    models: each.models,
    as: each.as ?? null,
    limits: each.limits,
    max_input: text(each.max_input),
    priced_as: text(each.priced_as),
    retry: each.retry,
    translate: each.translate,
    redact: each.redact,
    transforms: each.transforms,
    weight: text(each.weight),
    beside: each.beside,
  };
}

/** Returns what a row says beside its provider. */
export function words(each) {
  const parts = [each.models.length ? each.models.join(", ") : "all models"];
  if (each.as) parts.push(`as ${asLines(each.as).join(", ")}`);
  if (each.translate) parts.push("translated");
  if (each.redact?.length) parts.push(`redacts ${each.redact.join(", ")}`);
  const limits = bounds(each);
  if (limits) parts.push(limits);
  if (each.max_input) parts.push(`up to ${each.max_input} input tokens`);
  if (each.priced_as) parts.push(`priced as ${each.priced_as}`);
  if (each.retry) parts.push(`retry ${each.retry}`);
  if (each.weight) parts.push(`weight ${each.weight}`);
  return parts.join(" · ");
}

/** Returns which models a row matches, as text. */
export function matched(names, each) {
  if (!names.length) return each.models.length ? NO_MATCH : "";
  const more = names.length - SHOWN;
  return `${each.models.length ? "matches" : "offers"} ${names.slice(0, SHOWN).join(", ")}${more > 0 ? ` and ${counted(more, "more model")}` : ""}`;
}

/** Returns renamed models as lines: `asked = served`, or one name for all. */
export function asLines(value) {
  if (!value) return [];
  return typeof value === "string"
    ? [value]
    : Object.entries(value).map(([asked, served]) => `${asked} = ${served}`);
}

/** Returns the lines of renamed models as the file has them. */
export function asMap(lines) {
  if (!lines) return null;
  if (lines.length === 1 && !lines[0].includes("=")) return lines[0];
  return Object.fromEntries(lines.map((line) => line.split("=").map((each) => each.trim())));
}
