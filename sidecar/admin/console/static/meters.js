// How full limits are, and what vendors say is left: bars with their words.

import { h } from "./dom.js";
import { lasting, short, span } from "./format.js";

/** A bar for each limit and budget; null when there is none. Several credentials are told apart. */
export function uses(rows) {
  const several = new Set(rows.map((each) => each.credential)).size > 1;
  return meters(rows, (each) => [what(each), several ? each.credential : ""].filter(Boolean).join(" "));
}

/** The same for limits of many scopes, each below its scope's name. */
export function scoped(rows) {
  return meters(rows, what, (each) => each.scope);
}

/** @param {(each: any) => string} title */
function meters(rows, name, title = (_) => "") {
  if (!rows.length) return null;
  return h(
    "div",
    { class: "meters" },
    rows.map((each) => {
      const figure = each.unit === "usd" ? (value) => `$${value.toFixed(2)}` : short;
      const soon = each.reset && each.unit !== "usd" ? `, free in ${span(each.reset)}` : "";
      return bar(
        name(each),
        each.used,
        each.limit,
        `${figure(each.used)} of ${figure(each.limit)}${soon}`,
        title(each),
      );
    }),
  );
}

function what(each) {
  return [
    each.kind.replace("budget/", "budget a ").replaceAll("_", " "),
    each.models ? `for ${each.models}` : "",
  ]
    .filter(Boolean)
    .join(" ");
}

/** How much of a limit or a quota is used; a limit of nothing is full. */
export function fullness(each) {
  if (each.used === null) return 0;
  return each.limit > 0 ? each.used / each.limit : 1;
}

/** A bar for each quota, by the vendor's own words. */
export function quotas(rows, { named = false } = {}) {
  if (!rows.length) return null;
  const several = new Set(rows.map((each) => each.credential)).size > 1;
  return h(
    "div",
    { class: "meters" },
    rows.map((each) =>
      bar(
        [each.kind.replaceAll("_", " "), each.family, several ? each.credential : ""]
          .filter(Boolean)
          .join(" · "),
        each.limit - each.left,
        each.limit,
        `${short(each.left)} of ${short(each.limit)} left${each.reset ? `, full in ${span(each.reset)}` : ""}`,
        named ? each.provider : "",
      ),
    ),
  );
}

/** Returns which upstreams cool down, as text; "" when none does. */
export function resting(rows) {
  return rows
    .map(
      (each) =>
        `${each.family || each.credential || "it"} cools down for ${lasting(each.seconds)}${each.reason ? ` (${each.reason})` : ""}`,
    )
    .join(", ");
}

function bar(name, value, most, words, title = "") {
  const full = most <= 0 ? 1 : value / most;
  return h(
    "div",
    { class: "meter" },
    title ? h("strong", { class: "whose" }, title) : null,
    h("span", { class: "what" }, name),
    h("span", { class: "figure" }, words),
    h("meter", {
      min: 0,
      max: 1,
      low: 0.8,
      high: 0.95,
      optimum: 0,
      value: Math.min(1, full),
      "aria-label": `${title} ${name}: ${words}`.trim(),
    }),
  );
}
