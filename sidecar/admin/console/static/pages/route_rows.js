// The rows of the editor of routes: from the API's entries, to an edit's, and as text.

import { bounds, counted } from "../format.js";

export const NO_MATCH = "matches no model that is known now";
const APIS = ["messages", "chat", "responses", "generate"];
const SHOWN = 4; // models that are named where more match

let marks = 0;

/** Returns a row for an entry, with a mark that no other row has. */
export function row(entry, index) {
  marks += 1;
  return { ...entry, mark: marks, beside: index > 0 && Boolean(entry.beside) };
}

/** Returns a row as an edit has it. */
export function sent(each) {
  const { mark, matches, ...fields } = each;
  for (const name of ["max_input", "priced_as", "weight"]) fields[name] = fields[name]?.toString() ?? null;
  return fields;
}

/** Returns what a row says beside its provider. */
export function words(each) {
  const parts = [each.models.length ? each.models.join(", ") : "all models"];
  if (each.as) parts.push(`as ${asLines(each.as).join(", ")}`);
  const api = translation(each);
  if (api) parts.push(api === "true" ? "translated" : `translated to ${api}`);
  if (each.redact?.length) parts.push(`redacts ${each.redact.join(", ")}`);
  const limits = bounds(each);
  if (limits) parts.push(limits);
  if (each.max_input) parts.push(`up to ${each.max_input} input tokens`);
  if (each.priced_as) parts.push(`priced as ${each.priced_as}`);
  if (each.retry) parts.push(`retry ${each.retry}`);
  if (each.weight) parts.push(`weight ${each.weight}`);
  return parts.join(" · ");
}

/** Returns what a row translates to: "" for nothing, "true", or the API that it names. */
export function translation({ translate, transforms }) {
  const named = transforms?.translate;
  return [named?.api ?? ""].flat().join(", ") || (translate || named ? "true" : "");
}

/** Returns the fields of a row that translates to what was chosen; as they are if it does already. */
export function translated(each, chosen) {
  if (chosen === translation(each)) return { translate: each.translate };
  const transforms = { ...each.transforms };
  delete transforms.translate;
  const translate = chosen === "true";
  if (chosen && !translate) transforms.translate = { api: chosen };
  return { translate, transforms };
}

/** Returns the choices of a translation, with the words of each; `now` is one of them. */
export function translations(now) {
  const words = { "": "no: calls stay byte for byte", true: "yes: to an API that the provider has" };
  return [...new Set(["", "true", ...APIS, now])].map((each) => [each, words[each] ?? `only to ${each}`]);
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
