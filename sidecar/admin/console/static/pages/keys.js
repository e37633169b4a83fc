// API keys: the list. Search, sort, filter, switch, create.

import { get } from "../api.js";
import { spark } from "../charts.js";
import { button, switcher, toast } from "../dialogs.js";
import { blend, fill, h, lead, quiet, searchBox, title, under } from "../dom.js";
import { look, makeOrSay } from "../editing.js";
import { ago, bounds, counted, day, moment, money, tokens } from "../format.js";
import { link } from "../pages.js";
import { pausedMark } from "../steering.js";
import { table } from "../table.js";
import { create } from "./newkey.js";

const STALE = 30 * 86400;
const PAUSE = 2000; // milliseconds between two reads of the ledger while calls end
/** @type {Record<Api.KeyStatus, [string, string]>} */
const STATUSES = {
  enabled: ["good", "enabled"],
  disabled: ["off", "disabled"],
  expired: ["bad", "expired"],
  no_secret: ["warn", "no secret yet"],
};
/** @type {[string, string, (key: Api.KeyInfo) => boolean][]} */
const FILTERS = [
  ["all", "All", () => true],
  ["enabled", "Enabled", (key) => key.status === "enabled"],
  ["off", "Off", (key) => key.status !== "enabled"],
  ["stale", "Not used for 30 days", stale],
];

/** Returns whether a key was not used for long although it is old enough. */
function stale(key) {
  const since = key.times.last_used ?? key.created ?? 0;
  return Date.now() / 1000 - since > STALE;
}

export async function show(main) {
  const [first, recent] = await Promise.all([look("keys"), recentUsage()]);
  let keys = first.keys;
  let used = recent;
  let timely = null;
  let words = "";
  let filter = "all";
  const search = searchBox("Search keys", () => {
    words = search.value.toLowerCase();
    draw();
  });
  const filters = h("div", { class: "filters", role: "group", "aria-label": "Show" });
  const found = h("p", { class: "quiet count", role: "status" });
  const rows = table(
    "API keys",
    columns(() => used),
    { id: "keys", empty: nothing, keyOf: (key) => key.name },
  );

  function draw() {
    // A node replaced between press and release loses the click.
    blend(
      filters,
      h(
        "div",
        {},
        FILTERS.map(([name, label, fits]) =>
          h(
            "button",
            {
              id: `filter-${name}`,
              class: "chip",
              "aria-pressed": String(filter === name),
              onclick: () => {
                filter = name;
                draw();
              },
            },
            label,
            h("span", { class: "number" }, keys.filter(fits).length),
          ),
        ),
      ),
    );
    const fits = FILTERS.find(([name]) => name === filter)[2];
    const shown = keys.filter((key) => fits(key) && matches(key, words));
    found.textContent =
      shown.length === keys.length
        ? counted(keys.length, "key")
        : `${shown.length} of ${counted(keys.length, "key")}`;
    rows.update(shown);
  }

  function nothing() {
    return keys.length
      ? h("p", {}, "No key fits.")
      : [
          h("h2", {}, "No keys yet"),
          h(
            "p",
            {},
            "A key lets one agent in. Make one for each, so that you can see and stop it by itself.",
          ),
          button("Create a key", start, "primary"),
        ];
  }

  async function again() {
    keys = (await look("keys")).keys;
    draw();
  }
  async function account() {
    timely = null;
    used = await recentUsage();
    draw();
  }

  const start = () => create();
  fill(
    main,
    title("API keys", button("Create a key", start, "primary", { id: "create" })),
    lead("What your agents present. A key belongs to one group, and is stored only as a hash."),
    h("div", { class: "tools" }, search, filters, found),
    rows.node,
  );
  draw();
  const timer = setInterval(draw, 30000); // "3 minutes ago" grows old
  return {
    leave: () => {
      clearInterval(timer);
      clearTimeout(timely);
    },
    config: again,
    steered: again,
    keys: (times) => {
      for (const key of keys) if (times[key.name]) key.times = times[key.name];
      draw();
      timely ??= setTimeout(account, PAUSE);
    },
  };
}

/** Returns the last days of each key; null without a ledger. */
export async function recentUsage() {
  return get("recent").catch(() => null);
}

function matches(key, words) {
  return [key.name, key.group, key.vendor_title, key.description, key.times.program]
    .join("\n")
    .toLowerCase()
    .includes(words);
}

/** `used` returns the last days of each key. */
function columns(used) {
  return [
    {
      head: "Name",
      sort: (key) => key.name,
      class: "name",
      cell: (key) => [
        link("keys", key.name, { id: `key-${key.name}` }),
        key.description ? under(key.description) : null,
      ],
    },
    {
      head: "Group",
      class: "of",
      sort: (key) => key.group,
      cell: (key) => [link("groups", key.group, { class: "calm" }), under(key.vendor_title)],
    },
    {
      head: "Status",
      sort: (key) => key.status,
      cell: (key) => [status(key), " ", pausedMark(key), until(key)],
    },
    {
      head: "Last 7 days",
      class: "figure",
      sort: (key) => -sum(used()?.keys[key.name]?.tokens),
      cell: (key) => [
        days(used(), key.name),
        used()?.keys[key.name]?.today.calls ? under(costToday(used(), key.name), " today") : null,
        spike(used(), key.name),
      ],
    },
    { head: "Limits", class: "lesser", cell: (key) => bounds(key) || quiet("the group’s") },
    {
      head: "Created",
      class: "lesser",
      sort: (key) => key.created,
      cell: (key) => h("time", { title: moment(key.created) }, day(key.created) || "–"),
    },
    {
      head: "Last used",
      sort: (key) => -(key.times.last_used ?? 0),
      cell: (key) => [
        h("time", { title: moment(key.times.last_used) }, ago(key.times.last_used)),
        key.times.last_used ? under(by(key.times)) : refused(key.times),
      ],
    },
    { head: "", say: "Switch", class: "switch", cell: toggle },
  ];
}

/** What a key cost today. */
export function costToday(used, name) {
  if (!used) return quiet("unknown");
  const found = used.keys[name]?.today;
  if (!found?.calls) return quiet("–");
  const cost = money(found.cost_usd);
  return found.costs_all
    ? cost
    : h("span", { title: "At least: not every call’s cost is known" }, `${cost}+`);
}

/** That a key is used far above its habit; null when it is not. */
export function spike(used, name) {
  const found = used?.spikes[name];
  if (!found) return null;
  const figure = (value) =>
    found.measure === "cost" ? `$${value.toFixed(2)}` : Math.round(value).toLocaleString("en");
  const today = found.measure === "cost" ? figure(found.amount) : `${figure(found.amount)} tokens`;
  const times = Math.round(found.amount / found.usual);
  return h(
    "div",
    { class: "under doubt" },
    `${today} today, ${times} times its usual ${figure(found.usual)}`,
  );
}

/** The tokens of a key's last days as a sparkline. */
export function days(used, name) {
  const found = used?.keys[name];
  if (!found) return quiet(used ? "–" : "unknown");
  return spark(
    found.tokens,
    `${found.tokens.includes(null) ? "at least " : ""}${tokens(sum(found.tokens))} tokens in ${found.tokens.length} days, ${tokens(found.tokens.at(-1))} today`,
  );
}

function sum(amounts) {
  return (amounts ?? []).reduce((all, each) => all + (each ?? 0), 0);
}

/** Whether a key can be used, as a word with a colour. */
export function status(key) {
  const [kind, text] = STATUSES[key.status];
  return h("span", { class: `status ${kind}` }, text);
}

function until(key) {
  if (key.previous_until) return under(`old secret expires ${ago(key.previous_until)}`);
  return key.expires && key.status !== "expired" ? under(`expires ${ago(key.expires)}`) : null;
}

export function by({ program, host }) {
  return `${program && ` by ${program}`}${host && ` on ${host}`}`;
}

/** That a key without a use was presented, and declined. */
function refused(times) {
  if (!times.last_refused) return null;
  return under(`declined ${ago(times.last_refused)}${times.program ? `, from ${times.program}` : ""}`);
}

function toggle(key) {
  const id = `switch-${key.name}`;
  return switcher(id, `Enabled: ${key.name}`, key.status !== "disabled", async (event) => {
    const on = event.currentTarget.getAttribute("aria-checked") === "true"; // the node outlives `key`
    event.currentTarget.disabled = true;
    const made = await makeOrSay({ do: "switch_key", name: key.name, enabled: !on });
    if (!made) document.getElementById(id)?.removeAttribute("disabled");
    else if (!made.difference.length) toast(`Key ${key.name} is as it was`);
  });
}
