// Live: calls in flight, queues, how full each limit is, and the latest calls.

import { ask, get } from "../api.js";
import { button, sure, toast } from "../dialogs.js";
import { blend, facts, fill, h, lead, quiet, title, under } from "../dom.js";
import { ago, counted, moment, money, short, span, tokens } from "../format.js";
import { fullness, quotas, scoped } from "../meters.js";
import { link } from "../pages.js";
import { choose, resume, steered, when } from "../steering.js";
import { ending, why } from "../story.js";
import { table } from "../table.js";

const STATES = { answering: "good", asked: "", arriving: "", waiting: "warn" };

export async function show(main) {
  let [view, latest] = await Promise.all([get("live"), recent()]);
  let stale = false; // whether calls ended since the latest ones were asked for
  const head = h("div", { class: "card" });
  const held = h("div", { class: "stack" });
  const bars = h("div", { class: "stack" });
  const rows = table("Calls", COLUMNS, {
    id: "calls",
    keyOf: (each) => each.call,
    partOf: (each) => each.line && reason(each.line.behind[0]),
    most: 40,
    empty: () => [h("h2", {}, "Nothing runs"), h("p", {}, "A call shows up the moment it arrives.")],
  });
  const past = table("Latest calls", PAST, {
    id: "past",
    most: 8,
    keyOf: (each) => each.call_id,
    empty: () => h("p", {}, "No call is recorded yet."),
  });

  function draw() {
    const waiting = Object.values(view.waiting).reduce((sum, each) => sum + each, 0);
    blend(head, h("div", {}, facts(figures(view, waiting), "facts tight")));
    blend(held, h("div", {}, alarms(view)));
    const lines = new Map(view.lines.map((each) => [each.call, each]));
    rows.update(parted(view.calls.map((each) => ({ ...each, line: lines.get(each.call) }))));
    blend(bars, h("div", {}, gauges(view)));
  }

  async function again() {
    stale = false;
    latest = await recent();
    past.update(latest);
  }

  fill(
    main,
    title("Live", button("Pause …", choose, "", { id: "pause" })),
    lead("The calls of this moment, as they happen. Those that wait stand below what they wait for."),
    held,
    head,
    h("h2", { class: "over" }, "Calls"),
    rows.node,
    h("h2", { class: "over" }, "Latest"),
    past.node,
    bars,
  );
  draw();
  past.update(latest);
  return {
    keys: () => (stale = true),
    tick: again,
    live: (found) => {
      view = found;
      draw();
      if (stale) again().catch(() => {});
    },
  };
}

async function recent() {
  try {
    return (await get("calls")).calls;
  } catch {
    return []; // without a ledger the rest is shown
  }
}

function figures(view, waiting) {
  const by = Object.entries(view.waiting)
    .filter(([, count]) => count)
    .map(([urgency, count]) => `${count} ${urgency}`);
  return [
    ["Running", view.in_flight - waiting],
    ["Waiting", [waiting, by.length ? h("span", { class: "under" }, ` ${by.join(", ")}`) : null]],
    ["Let through", view.granted.toLocaleString()],
    ["Network", view.network.up ? "up" : h("span", { class: "status bad" }, "gone")],
    ...(view.shared ? [["Shared", view.shared.failure || "up"]] : []),
    ["Retries left", `${view.retries.left} of ${view.retries.most}`],
    ["Running since", ago(view.started, view.at)],
  ];
}

/** What stops calls. */
function alarms(view) {
  return [
    ...view.holds.map((each) =>
      h(
        "div",
        { class: "notice row", "data-key": `hold-${each.kind}-${each.name}` },
        h(
          "span",
          {},
          h("strong", {}, `Paused: ${each.scope}`),
          ` ${when(each)}; ${each.waiting ? `${counted(each.waiting, "call")} ${each.waiting === 1 ? "waits" : "wait"} here` : "no call waits here"}`,
        ),
        button("Resume", () => steered(() => resume(each.kind, each.name)), "small", {
          id: `resume-${each.kind}-${each.name}`,
          "aria-label": `Resume ${each.scope}`,
        }),
      ),
    ),
    view.network.up
      ? null
      : h(
          "div",
          { class: "notice", "data-key": "network" },
          h("strong", {}, "The network is gone. "),
          `Calls to remote providers wait; the next try is in ${span(view.network.seconds)}.`,
        ),
    ...view.cooldowns.map((each) =>
      h(
        "div",
        { class: "notice", "data-key": `rest-${each.provider}-${each.credential}-${each.family}` },
        h("strong", {}, `${each.provider}${each.family ? ` (${each.family})` : ""} cools down`),
        each.seconds ? ` for ${span(each.seconds)} more` : " until one call got through",
        `: ${each.reason || each.verdict.replaceAll("_", " ")}`,
      ),
    ),
    ...view.unpriced.map((each) =>
      h(
        "div",
        { class: "notice", "data-key": `unpriced-${each.key}-${each.model}-${each.provider}` },
        h("strong", {}, `No price is known for ${each.model} at ${each.provider}. `),
        `Calls of key ${each.key} for it spend no budget, and a spent budget refuses them. Write priced_as on the route, or a price in the file.`,
      ),
    ),
  ];
}

const COLUMNS = [
  {
    head: "Key",
    class: "name",
    cell: (each) => [
      each.key ? link("keys", each.key, { id: `call-${each.call}` }) : "no key yet",
      each.child ? under(`run ${each.child}`) : null,
      under(from(each)),
    ],
  },
  {
    head: "Model",
    cell: (each) => [h("span", { class: "wrap" }, each.model ?? each.endpoint ?? "–"), under(at(each))],
  },
  { head: "Urgency", class: "lesser", cell: (each) => each.urgency ?? "" },
  {
    head: "State",
    cell: (each) => [h("span", { class: `status ${STATES[each.state]}` }, each.state), place(each)],
  },
  {
    head: "Age",
    class: "figure",
    cell: (each) => [
      span(each.age),
      each.first_byte === null ? null : under(`first byte ${span(each.first_byte)}`),
    ],
  },
  { head: "Tokens", class: "figure", cell: (each) => came(each) },
  {
    head: "",
    say: "Cancel",
    class: "switch",
    cell: (each) =>
      button("Cancel", () => cancel(each.call), "small", {
        id: `cancel-${each.call}`,
        "aria-label": `Cancel the call of ${each.key ?? "an unknown key"}`,
      }),
  },
];

/** Who called: the program, and the repository it works in. */
function from(call) {
  const program = call.program || call.caller?.program;
  return [program, call.caller?.repo && `in ${call.caller.repo}`].filter(Boolean).join(" ");
}

function at(call) {
  if (!call.provider) return "";
  const served = call.model_served && call.model_served !== call.model ? ` as ${call.model_served}` : "";
  return `${call.provider}${served}${call.attempts > 1 ? `, try ${call.attempts}` : ""}`;
}

/** The place of a call in its queue. */
function place(call) {
  if (!call.line) return null;
  const [first, ...others] = call.line.behind;
  return under(
    [
      first.before === null ? "" : `${first.before + 1} of ${first.waiting}`,
      call.line.remaining_wait === null ? "" : `${span(call.line.remaining_wait)} at most`,
      others.length ? `or ${counted(others.length, "other route")}` : "",
    ]
      .filter(Boolean)
      .join(", "),
  );
}

/** The calls that run, then those that wait, by what they wait for and in the order of its queue. */
function parted(calls) {
  const order = (each) => each.line.behind[0].before ?? Number.MAX_SAFE_INTEGER;
  const parts = new Map();
  for (const each of calls.filter((each) => each.line)) {
    const gate = each.line.behind[0].gate;
    parts.set(gate, [...(parts.get(gate) ?? []), each]);
  }
  const waiting = [...parts.values()].flatMap((part) => part.sort((a, b) => order(a) - order(b)));
  return [...calls.filter((each) => !each.line), ...waiting];
}

/** What a queue waits for: an identity, and the words that stand once above its calls. */
function reason({ gate, kind, opens }) {
  return [gate, `Behind: ${gate}${opens && kind !== "hold" ? `, opens in ${span(opens)}` : ""}`];
}

/** Returns the tokens that the vendor reported so far, else the bytes. */
function came(call) {
  if (call.input_tokens === null && call.output_tokens === null)
    return call.bytes ? `${short(call.bytes)}B` : quiet("none yet");
  return [`${tokens(call.output_tokens)} out`, under(`${tokens(call.input_tokens)} in`)];
}

function cancel(id) {
  return sure(
    "Cancel this call?",
    h(
      "p",
      {},
      "Its client gets an error in its vendor’s shape that says so, and is told not to try again. What the vendor made until now may still be billed.",
    ),
    "Cancel it",
    async () => {
      await ask("POST", `calls/${encodeURIComponent(id)}/end`, {});
      toast("The call was cancelled");
    },
    { kind: "danger", keep: "Let it run" },
  );
}

/** Limits that are used or waited for, the fullest first; and what the vendors say is left: folded. */
function gauges(view) {
  const used = view.limits
    .filter((each) => each.used || each.waiting || each.limit <= 0)
    .sort((a, b) => fullness(b) - fullness(a));
  const told = view.quotas.filter((each) => each.left !== null).sort((a, b) => fullness(b) - fullness(a));
  return [
    card(
      "Limits and budgets, used now",
      full(used, "full"),
      scoped(used),
      view.limits.length
        ? "None of the limits is used at the moment."
        : "The file sets no limit and no budget.",
    ),
    told.length
      ? card("What the vendors say is left", full(told, "used up"), quotas(told, { named: true }))
      : null,
  ];
}

function full(rows, word) {
  const count = rows.filter((each) => fullness(each) >= 1).length;
  return count ? ` ${count} of ${rows.length} ${word}` : ` ${rows.length}, none ${word}`;
}

function card(title, note, shown, otherwise) {
  return h(
    "details",
    { class: "card", "data-key": title },
    h("summary", {}, h("h2", {}, title), quiet(note)),
    shown ?? quiet(otherwise),
  );
}

const PAST = [
  {
    head: "Began",
    class: "figure",
    cell: (each) => {
      const began = Date.parse(each.started) / 1000;
      return h(
        "button",
        {
          class: "link",
          id: `why-${each.call_id}`,
          title: moment(began),
          "aria-label": `Why: the call of ${moment(began)}`,
          onclick: () => why(each.call_id),
        },
        ago(began),
      );
    },
  },
  { head: "Key", cell: (each) => each.key || quiet("no known key") },
  {
    head: "Model",
    cell: (each) => [h("span", { class: "wrap" }, each.model ?? "–"), under(each.provider || "no provider")],
  },
  { head: "Outcome", cell: (each) => [ending(each), " ", quiet(each.status || "")] },
  { head: "Took", class: "figure lesser", cell: (each) => span(each.duration) },
  {
    head: "Tokens",
    class: "figure",
    cell: (each) =>
      each.usage === "none"
        ? quiet("none")
        : each.usage === "unknown"
          ? "unknown"
          : `${tokens(each.input_tokens)} in, ${tokens(each.output_tokens)} out`,
  },
  {
    head: "Cost",
    class: "figure",
    cell: (each) => (each.usage === "none" ? quiet("none") : money(each.cost_usd)),
  },
];
