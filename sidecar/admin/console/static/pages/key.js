// One key: what it is, its settings, its routes, and how to take it away.

import { ask, get, send } from "../api.js";
import { button, sure, toast } from "../dialogs.js";
import { facts, h, keepingFocus, lead, title } from "../dom.js";
import { effects, make, makeOrSay, shownDigest } from "../editing.js";
import { ago, bounds, counted, day, moment } from "../format.js";
import { choice, formDialog, headroom, limits, list, text, urgency } from "../forms.js";
import { uses } from "../meters.js";
import { address, link } from "../pages.js";
import { pausedMark, pauser } from "../steering.js";
import { by, costToday, days, recentUsage, spike, status } from "./keys.js";
import { connect, rotate } from "./newkey.js";
import { one } from "./one.js";

export async function show(main, [name]) {
  let used = await recentUsage();
  const { groups } = await get("groups");
  const page = await one(main, "key", name, {
    head,
    fields,
    more: async () => (used = await recentUsage()),
    routes: true,
  });

  function head({ key, uses: full, ...found }, { now, again }) {
    return [
      title(
        key.name,
        status(key),
        pausedMark(key),
        h(
          "div",
          { class: "actions" },
          button("Rename", () => rename(key), "", { id: "rename" }),
          button("Rotate", async () => (await rotate(key)) && again(), "", { id: "rotate" }),
          pauser("key", key, now),
          key.status === "disabled"
            ? button("Enable", () => enable(key, again), "", { id: "switch" })
            : button("Disable", () => disable(key, found.in_flight, again), "", { id: "switch" }),
          button("Delete", () => remove(key), "danger", { id: "delete" }),
        ),
      ),
      key.description ? lead(key.description) : null,
      h(
        "section",
        { class: "card" },
        facts(rows(key)),
        full.length ? [h("h3", {}, "Limits, used now"), uses(full)] : null,
      ),
    ];
  }

  function rows(key) {
    const times = key.times;
    return [
      ["Group", [link("groups", key.group), ` · ${key.vendor_title}`]],
      ["Urgency", key.urgency],
      ["Limits", bounds(key) || "none of its own"],
      ["May use", key.models.includes("*") ? "every model" : key.models.join(", ") || "nothing"],
      [
        "Last used",
        h("span", { title: moment(times.last_used) }, ago(times.last_used), times.last_used ? by(times) : ""),
      ],
      ["Last refused", h("span", { title: moment(times.last_refused) }, ago(times.last_refused))],
      ["Cost today", [costToday(used, name), spike(used, name)]],
      ["Last 7 days", days(used, name)],
      ["Created", h("span", { title: moment(key.created) }, day(key.created) || "not known")],
      ["Expires", key.expires ? `${ago(key.expires)} (${moment(key.expires)})` : "never"],
      key.previous_until ? ["Old secret expires", ago(key.previous_until)] : null,
    ].filter(Boolean);
  }

  function fields({ written: own, inherited }) {
    return {
      group: choice(
        "Group",
        own.group,
        groups.map((each) => [each.name, `${each.name} · ${each.vendor_title} · × ${each.multiplier}`]),
        { help: "Moving it changes its vendor, routes, limits and rate." },
      ),
      description: text("Description", own.description),
      urgency: urgency(own.urgency, `as the group says (${inherited.urgency ?? "normal"})`),
      expires: text("Expires", own.expires, {
        placeholder: "never",
        help: "2h, 30d, or a date such as 2026-12-31.",
      }),
      models: list("Models", own.models, {
        placeholder: inherited.models ? [inherited.models].flat().join("\n") : "all that the group allows",
        help: "Patterns such as gpt-5*, one a line.",
      }),
      budget: list("Budget", own.budget, {
        placeholder: "$2/day",
        rows: 1,
        help: "One a line: $2/day, $20/month.",
      }),
      limits: limits("Limits", own.limits),
      max_wait: text("Longest wait", own.max_wait, {
        placeholder: "2m",
        help: "How long a call may wait for room, in all.",
      }),
      sticky_wait: text("Longest wait of a session", own.sticky_wait, {
        placeholder: "5s",
        help: "For the provider that it used last, before it moves to another.",
      }),
      share: text("Share", own.share, {
        placeholder: "1",
        help: "2 gets twice the calls of 1 while both wait at the same urgency.",
      }),
      headroom: headroom(own.headroom),
    };
  }

  main.append(
    h("section", { class: "card" }, h("h2", {}, "Connect"), await connect(page.found().key.vendor)),
  );
  return { ...page, tick: () => keepingFocus(page.redraw), keys: (times) => times[name] && page.now() };
}

async function rename(key) {
  const field = text("New name", key.name, { required: true });
  const made = await formDialog(
    "Rename the key",
    { field },
    {
      label: "Rename",
      save: async (values, close) => {
        const done = await make(
          { do: "rename_key", name: key.name, new_name: values.field },
          `Key ${key.name} is now ${values.field}`,
        );
        if (done) close(values.field);
      },
    },
  );
  if (made) location.hash = address("keys", made);
}

async function enable(key, again) {
  if (await makeOrSay({ do: "switch_key", name: key.name, enabled: true })) again();
}

/** What taking a key away breaks, in a sentence. */
function breaks(key) {
  const used = key.times.last_used;
  return used ? `It was used ${ago(used)}${by(key.times)}.` : "It was never used.";
}

async function disable(key, running, again) {
  const cut = h("input", { type: "checkbox", id: "cut" });
  const made = await sure(
    `Disable ${key.name}?`,
    [
      h("p", { class: "breaks" }, breaks(key)),
      h("p", {}, "Its next call is refused with 403. It can be enabled again."),
      h("label", { class: "check" }, cut, ` End its running calls, too (${running} now)`),
    ],
    "Disable",
    async () => {
      const done = await make({ do: "switch_key", name: key.name, enabled: false });
      if (done && cut.checked) {
        const ended = await ask("POST", `keys/${encodeURIComponent(key.name)}/revoke`, {});
        toast(`${counted(ended.cut, "running call")} ended`);
      }
      return Boolean(done);
    },
  );
  if (made) again();
}

async function remove(key) {
  const edit = { do: "delete_key", name: key.name };
  const preview = await send(edit, shownDigest(), { preview: true }).catch(() => null);
  const gone = await sure(
    `Delete ${key.name}?`,
    [
      h("p", { class: "breaks" }, breaks(key)),
      h("p", {}, "Whatever holds it is refused from now on. To stop it for a while, disable it instead."),
      preview ? effects(preview) : null,
    ],
    "Delete",
    async () => Boolean(await make(edit, `Key ${key.name} was deleted`)),
    { kind: "danger", wide: true },
  );
  if (gone) location.hash = "#/keys";
}
