// How full limits are, and what vendors say is left: bars with their words.

import { h } from "./dom.js";
import { lasting, short } from "./format.js";

/** A bar for each limit and budget; null when there is none. Several credentials are told apart. */
export function uses(rows) {
  if (!rows.length) return null;
  const several = new Set(rows.map((each) => each.credential)).size > 1;
  return h("div", { class: "meters" }, rows.map((each) => {
    const name = [each.kind.replace("budget/", "budget a "), each.models ? `for ${each.models}` : "", several ? each.credential : ""].filter(Boolean).join(" ");
    const figure = each.unit === "usd" ? (value) => `$${value.toFixed(2)}` : short;
    return bar(name, each.used, each.limit, `${figure(each.used)} of ${figure(each.limit)}`);
  }));
}

/** A bar for each quota, by the vendor's own words. */
export function quotas(rows) {
  if (!rows.length) return null;
  const several = new Set(rows.map((each) => each.credential)).size > 1;
  return h("div", { class: "meters" }, rows.map((each) =>
    bar([each.kind.replaceAll("_", " "), each.family, several ? each.credential : ""].filter(Boolean).join(" · "), each.limit - each.left, each.limit, `${short(each.left)} of ${short(each.limit)} left`)));
}

/** What rests after a vendor said no, in words; "" when nothing does. */
export function resting(rows) {
  return rows.map((each) => `${each.family || each.credential || "it"} rests ${lasting(each.seconds)}${each.why ? ` (${each.why})` : ""}`).join(", ");
}

function bar(name, value, most, words) {
  const full = most <= 0 ? 1 : value / most;
  return h("div", { class: "meter" },
    h("span", { class: "what" }, name),
    h("span", { class: "figure" }, words),
    h("meter", { min: 0, max: 1, low: 0.8, high: 0.95, optimum: 0, value: Math.min(1, full), "aria-label": `${name}: ${words}` }));
}
