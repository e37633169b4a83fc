// Usage: what was used and what it cost, told apart and narrowed; budgets; a CSV file.

import { get } from "../api.js";
import { bars, share } from "../charts.js";
import { button, toast } from "../dialogs.js";
import { fill, h, keepingFocus, lead, quiet, title, under } from "../dom.js";
import { ago, counted, date, day, money, percent, tokens } from "../format.js";
import { scoped } from "../meters.js";
import { table } from "../table.js";

const SPANS = [
  [1, "Today"],
  [7, "7 days"],
  [30, "30 days"],
  [90, "90 days"],
];
const BY = {
  key: "Key",
  group: "Group",
  model: "Model",
  provider: "Provider",
  day: "Day",
  program: "Program",
  repo: "Repository",
  branch: "Branch",
  session: "Session",
  node: "Process",
};
/** What only the process itself knows of its usage. */
const OWN = ["program", "repo", "branch", "session"];
const MOST_NODES = 8;
/** What the line without a name is. */
const UNNAMED = {
  key: "calls without a valid key",
  group: "calls without a valid key",
  model: "calls that name no model",
  provider: "calls that reached no provider",
  program: "the client named no program",
  repo: "not called from within a repository",
  branch: "not called from within a repository",
  session: "calls that name no session",
};
const LEAST = "The cost and the tokens are at least this much: not all of them are known.";
const PAUSE = 2000; // milliseconds between two looks while calls end
/** @type {[string, (sums: Api.UsageSums) => number | null, (value: number) => string][]} */
const MEASURES = [
  // of which the first that is known gives shares and bars
  ["cost", (sums) => sums.cost_usd, money],
  ["tokens", (sums) => sums.tokens, tokens],
  ["calls", (sums) => sums.calls, (value) => counted(value, "call")],
];

export async function show(main) {
  const asked = read();
  let found = null;
  let timer = null;
  const tools = h("div", { class: "tools" });
  const shown = h("div", { class: "stack" });

  const nodes = () => (found?.nodes ?? []).map((each) => each.name);

  async function load() {
    const before = nodes();
    found = await get("usage", query(asked));
    if (String(nodes()) !== String(before)) drawTools(); // else an open list would close
    keepingFocus(draw);
  }

  /** Another question; its address can be kept. */
  async function turn(change) {
    Object.assign(asked, change);
    if (OWN.includes(asked.by)) delete asked.where.node;
    history.replaceState(null, "", `#/usage?${new URLSearchParams(query(asked))}`);
    keepingFocus(drawTools);
    try {
      await load();
    } catch (error) {
      toast(error.message);
    }
  }

  function drawTools() {
    fill(
      tools,
      chips(
        "Since",
        SPANS.map(([days, label]) => [`days-${days}`, label, asked.days === days, () => turn({ days })]),
      ),
      choice(
        "by",
        "Tell apart by",
        Object.entries(BY)
          .filter(([by]) => by !== "node" || nodes().length)
          .map(([by, label]) => [by, `by ${label.toLowerCase()}`]),
        asked.by,
        (by) => turn({ by }),
      ),
      nodes().length
        ? choice(
            "node",
            "Process",
            [["", "all processes"], ...nodes().map((name) => [name, name])],
            asked.where.node,
            (node) => turn(node ? { by: "key", where: { node } } : { where: {} }),
          )
        : null,
      Object.entries(asked.where).map(([dimension, name]) =>
        h(
          "button",
          {
            class: "chip",
            id: `where-${dimension}`,
            "aria-pressed": "true",
            "aria-label": `${BY[dimension]} ${name || "unknown"}: show all again`,
            onclick: () =>
              turn({
                where: Object.fromEntries(Object.entries(asked.where).filter(([each]) => each !== dimension)),
                by: dimension,
              }),
          },
          `${BY[dimension]}: ${name || "unknown"} ×`,
        ),
      ),
    );
  }

  function draw() {
    const chosen = MEASURES.find(([, of]) => of(found.total)) ?? MEASURES[2];
    fill(
      shown,
      totals(found.total),
      found.total.calls && found.days.length > 1
        ? h(
            "section",
            { class: "card" },
            bars(
              found.days,
              found.daily.map((sums) => (sums.calls ? chosen[1](sums) : 0)),
              chosen[2],
              `${chosen[0]} by day`,
            ),
          )
        : null,
      lines(chosen),
      notes(),
      found.budgets.length
        ? h(
            "section",
            { class: "card", "aria-labelledby": "budgets" },
            h("h2", { id: "budgets" }, "Budgets, spent now"),
            scoped(found.budgets),
          )
        : null,
    );
  }

  function lines([measured, of, _]) {
    const whole = of(found.total);
    const rows = table(
      `Usage by ${asked.by}`,
      [
        {
          head: BY[asked.by],
          class: "name",
          sort: (each) => each.name,
          cell: (each) => [
            h(
              "button",
              {
                class: "link",
                id: `line-${each.name}`,
                title: "Show only this one",
                onclick: () => narrow(each.name),
              },
              called(each.name),
            ),
            each.name ? null : under(UNNAMED[asked.by]),
          ],
        },
        figure(
          "Calls",
          (each) => each.calls,
          (each) => each.calls.toLocaleString(),
        ),
        figure(
          "Input",
          (each) => each.input_tokens,
          (each) => [
            tokens(each.input_tokens),
            each.cached === null ? null : under(`${percent(each.cached)} cached`),
          ],
        ),
        figure(
          "Output",
          (each) => each.output_tokens,
          (each) => [
            tokens(each.output_tokens),
            each.reasoning_tokens ? under(`${tokens(each.reasoning_tokens)} reasoning`) : null,
          ],
        ),
        figure(
          "Cache written",
          (each) => each.cache_write_tokens,
          (each) => tokens(each.cache_write_tokens),
          "lesser",
        ),
        figure(
          "Cost",
          (each) => each.cost_usd,
          (each) => [money(each.cost_usd), doubts(each)],
        ),
        figure(`Share of ${measured}`, of, (each) => part(of(each), whole)),
      ],
      { id: "usage", empty: () => [h("h2", {}, "No calls"), h("p", {}, "Nothing was used in this time.")] },
    );
    rows.update(found.lines);
    return rows.node;
  }

  function called(name) {
    if (!name) return "unknown";
    return asked.by === "day" ? date(name) : name;
  }

  function narrow(name) {
    const next = ["model", "key"].find((each) => each !== asked.by && !(each in asked.where)) ?? "day";
    return turn({ where: { ...asked.where, [asked.by]: name }, by: next });
  }

  function notes() {
    const others = found.only_this ? [] : found.nodes.slice(1);
    const more = others.length - MOST_NODES;
    return [
      found.left_out && `${found.left_out} more lines stand in the CSV file.`,
      found.kept_since &&
        `Single calls are recorded since ${day(found.kept_since)}; older ones are known by day only.`,
      found.only_this && `Only the usage of this process: ${found.only_this}.`,
      others.length &&
        `Other processes: ${others
          .slice(0, MOST_NODES)
          .map((each) => `${each.name} as of ${ago(each.written)}`)
          .join(", ")}${more > 0 ? `, ${more} more` : ""}.`,
    ].map((words) => (words ? quiet(words) : null));
  }

  async function save() {
    try {
      const { name, csv } = await get("usage/csv", query(asked));
      const link = h("a", {
        href: URL.createObjectURL(new Blob([csv], { type: "text/csv" })),
        download: name,
      });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
      toast(`Saved as ${name}`);
    } catch (error) {
      toast(error.message);
    }
  }

  fill(
    main,
    title("Usage", button("Export CSV", save, "", { id: "csv" })),
    lead(
      "What vendors reported, at list prices times the group’s rate. What they did not report is unknown, not zero.",
    ),
    tools,
    shown,
  );
  drawTools();
  await load();
  return {
    leave: () => clearTimeout(timer),
    config: load,
    keys: () => {
      timer ??= setTimeout(() => {
        timer = null;
        load().catch(() => {});
      }, PAUSE);
    },
  };
}

/** The question in the address. */
function read() {
  const words = new URLSearchParams(location.hash.split("?")[1] ?? "");
  const days = Number(words.get("days"));
  return {
    by: words.get("by") in BY ? words.get("by") : "key",
    days: SPANS.some(([each]) => each === days) ? days : 7,
    where: Object.fromEntries(
      Object.keys(BY)
        .filter((each) => words.has(each))
        .map((each) => [each, words.get(each)]),
    ),
  };
}

function query(asked) {
  return { by: asked.by, days: asked.days, ...asked.where };
}

function choice(id, label, choices, chosen, deed) {
  return h(
    "select",
    { id, "aria-label": label, onchange: (event) => deed(event.target.value) },
    choices.map(([value, words]) => h("option", { value, selected: value === (chosen ?? "") }, words)),
  );
}

function chips(label, choices) {
  return h(
    "div",
    { class: "filters", role: "group", "aria-label": label },
    choices.map(([id, words, on, deed]) =>
      h("button", { id, class: "chip", "aria-pressed": String(on), onclick: deed }, words),
    ),
  );
}

function figure(head, sort, cell, more = "") {
  return { head, class: `figure ${more}`, sort, cell };
}

function totals(sums) {
  return h(
    "dl",
    { class: "tiles" },
    [
      ["Cost", money(sums.cost_usd), doubts(sums)],
      [
        "Input tokens",
        tokens(sums.input_tokens),
        sums.cached === null ? null : `${percent(sums.cached)} from the cache`,
      ],
      [
        "Output tokens",
        tokens(sums.output_tokens),
        sums.reasoning_tokens ? `${tokens(sums.reasoning_tokens)} reasoning` : null,
      ],
      ["Calls", sums.calls.toLocaleString(), null],
    ].map(([label, value, under]) =>
      h(
        "div",
        { class: "card" },
        h("dt", {}, label),
        h("dd", { class: "big" }, value),
        under ? h("dd", { class: "under" }, under) : null,
      ),
    ),
  );
}

/** What is not known of some calls; null when all is. */
function doubts(sums) {
  const words = [
    sums.unknown_calls && `${counted(sums.unknown_calls, "call")} of unknown use`,
    sums.partial_calls && `${counted(sums.partial_calls, "call")} known in part`,
    sums.unpriced_calls && `${counted(sums.unpriced_calls, "call")} without a price`,
  ].filter(Boolean);
  if (!words.length) return null;
  return h("div", { class: "under doubt", title: LEAST }, words.join(", "));
}

function part(one, whole) {
  if (one === null) return "unknown";
  if (!whole) return "";
  return h("span", {}, share(one / whole), percent(one / whole));
}
