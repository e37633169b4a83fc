// API keys: the list. Search, sort, filter, switch, create.

import { button, toast } from "../dialogs.js";
import { fill, h } from "../dom.js";
import { look, makeOrSay } from "../editing.js";
import { ago, bounds, counted, day, moment } from "../format.js";
import { address } from "../pages.js";
import { table } from "../table.js";
import { create } from "./newkey.js";

const STALE = 30 * 86400;
const FILTERS = [
  ["all", "All", () => true],
  ["enabled", "Enabled", (key) => key.status === "enabled"],
  ["off", "Off", (key) => key.status !== "enabled"],
  ["stale", "Not used for 30 days", stale],
];

/** A key that nobody used for long, though there was time to. */
function stale(key) {
  const since = key.times.last_used ?? key.created ?? 0;
  return Date.now() / 1000 - since > STALE;
}

export async function show(main) {
  let keys = (await look("keys")).keys;
  let words = "";
  let filter = "all";
  const search = h("input", {
    type: "search", id: "search", placeholder: "Search keys", "aria-label": "Search keys", autocomplete: "off",
    oninput: () => ((words = search.value.toLowerCase()), draw()),
  });
  const filters = h("div", { class: "filters", role: "group", "aria-label": "Show" });
  const found = h("p", { class: "quiet count", role: "status" });
  const rows = table("API keys", columns(() => draw()), { id: "keys", empty: nothing });

  function draw() {
    fill(filters, FILTERS.map(([name, label, fits]) =>
      h("button", { type: "button", id: `filter-${name}`, class: "chip", "aria-pressed": String(filter === name),
        onclick: () => ((filter = name), draw(), document.getElementById(`filter-${name}`).focus()) },
        label, h("span", { class: "number" }, keys.filter(fits).length))));
    const fits = FILTERS.find(([name]) => name === filter)[2];
    const shown = keys.filter((key) => fits(key) && matches(key, words));
    found.textContent = shown.length === keys.length ? counted(keys.length, "key") : `${shown.length} of ${counted(keys.length, "key")}`;
    rows.update(shown);
  }

  function nothing() {
    return keys.length
      ? h("p", {}, "No key fits.")
      : [h("h2", {}, "No keys yet"), h("p", {}, "A key lets one agent in. Make one for each, so that you can see and stop it by itself."),
         button("Create a key", start, "primary")];
  }

  const start = () => create(keys);
  fill(main,
    h("div", { class: "title" }, h("h1", {}, "API keys"), button("Create a key", start, "primary", { id: "create" })),
    h("p", { class: "lead" }, "What your agents present. A key belongs to one group, and is stored only as a hash."),
    h("div", { class: "tools" }, search, filters, found),
    rows.node);
  draw();
  const timer = setInterval(draw, 30000); // "3 minutes ago" grows old
  return {
    leave: () => clearInterval(timer),
    config: async () => ((keys = (await look("keys")).keys), draw()),
    keys: (times) => {
      for (const key of keys) if (times[key.name]) key.times = times[key.name];
      draw();
    },
  };
}

function matches(key, words) {
  return [key.name, key.group, key.vendor_title, key.description, key.times.program].join("\n").toLowerCase().includes(words);
}

function columns() {
  return [
    { name: "name", head: "Name", sort: (key) => key.name, class: "name", cell: (key) => [
      h("a", { href: address("keys", key.name), id: `key-${key.name}` }, key.name),
      key.description ? h("div", { class: "under" }, key.description) : null] },
    { name: "group", head: "Group", sort: (key) => key.group, cell: (key) => [
      h("a", { href: address("groups", key.group), class: "calm" }, key.group), h("div", { class: "under" }, key.vendor_title)] },
    { name: "status", head: "Status", sort: (key) => key.status, cell: (key) => [status(key), until(key)] },
    { name: "limits", head: "Limits", class: "lesser", cell: (key) => bounds(key) || h("span", { class: "quiet" }, "the group’s") },
    { name: "created", head: "Created", class: "lesser", sort: (key) => key.created, cell: (key) => h("time", { title: moment(key.created) }, day(key.created) || "–") },
    { name: "used", head: "Last used", sort: (key) => -(key.times.last_used ?? 0), cell: (key) => [
      h("time", { title: moment(key.times.last_used) }, ago(key.times.last_used)),
      key.times.program ? h("div", { class: "under" }, `by ${key.times.program}`) : null] },
    { name: "switch", head: "", say: "Switch", class: "switch", cell: toggle },
  ];
}

/** Whether a key can be used, as a word with a colour. */
export function status(key) {
  const kind = { enabled: "good", disabled: "off", expired: "bad", "no text yet": "warn" }[key.status];
  return h("span", { class: `status ${kind}` }, key.status);
}

function until(key) {
  if (key.previous_until) return h("div", { class: "under" }, `old text ends ${ago(key.previous_until)}`);
  return key.expires && key.status !== "expired" ? h("div", { class: "under" }, `ends ${ago(key.expires)}`) : null;
}

function toggle(key) {
  const on = key.status !== "disabled";
  return h("button", {
    type: "button", role: "switch", id: `switch-${key.name}`, class: "toggle", "aria-checked": String(on), "aria-label": `Enabled: ${key.name}`,
    onclick: async (event) => {
      event.currentTarget.disabled = true;
      const made = await makeOrSay({ do: "switch_key", name: key.name, enabled: !on });
      if (!made) document.getElementById(`switch-${key.name}`)?.removeAttribute("disabled");
      else if (!made.difference.length) toast(`Key ${key.name} is as it was`);
    },
  });
}
