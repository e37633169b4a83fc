// One group: its rate, its limits, its routes, and the keys that share it.

import { get } from "../api.js";
import { button } from "../dialogs.js";
import { facts, fill, h, keepingFocus, lead, title } from "../dom.js";
import { kept, look, review, shownDigest } from "../editing.js";
import { form, limits, list, text, urgency } from "../forms.js";
import { uses } from "../meters.js";
import { link } from "../pages.js";
import { pausedMark, pauser } from "../steering.js";
import { removeGroup } from "./groups.js";
import { editor } from "./routes.js";

const SOME = 20; // keys that are named

export async function show(main, [name]) {
  let found = await look("group", { name });
  const head = h("div");
  const settings = h("section", { class: "card", "aria-labelledby": "settings" });
  const routes = h("section", { class: "card", "aria-labelledby": "routes" });
  let parts = {};

  function draw({ keep = false } = {}) {
    drawHead();
    if (keep && (parts.settings?.touched() || parts.routes?.touched())) kept();
    if (!keep || !parts.settings?.dirty()) parts.settings = drawSettings();
    if (!keep || !parts.routes?.dirty()) parts.routes = editor(routes, found, { kind: "group", name, again });
  }

  function drawHead() {
    const group = found.group;
    fill(head,
      h("p", { class: "crumbs" }, h("a", { href: "#/groups" }, "Groups")),
      title(group.name, pausedMark(group), h("div", { class: "actions" }, pauser("group", group, now), button("Delete", () => removeGroup(group), "danger", { id: "delete" }))),
      lead(group.description || `Agents of this group speak ${group.vendor_title}’s API.`),
      h("section", { class: "card" }, facts(
        [["Vendor", group.vendor_title], ["Group (rate)", `× ${group.multiplier}`], ["Keys", group.keys.length ? [group.keys.slice(0, SOME).map((each, index) => [index ? ", " : null, link("keys", each)]), group.keys.length > SOME ? ` and ${group.keys.length - SOME} more` : null] : "none"]]),
        h("h3", {}, "Limits, used now"), uses(group.uses) ?? h("p", { class: "quiet" }, "No limit and no budget.")));
  }

  async function again() {
    found = await look("group", { name });
    draw();
  }

  function drawSettings() {
    const own = found.written;
    const on = shownDigest();
    const shown = form({
      multiplier: text("Rate", own.multiplier, { placeholder: "1", help: "Times the list price: 0.9 is ten percent off." }),
      description: text("Description", own.description),
      limits: limits("Limits", own.limits, { help: "Shared by all of its keys." }),
      budget: list("Budget", own.budget, { placeholder: "$20/day", rows: 1, help: "One a line: $20/day, $300/month." }),
      urgency: urgency(own.urgency, "as the defaults say", { help: "Of its keys that do not say." }),
      models: list("Models", own.models, { placeholder: "all", help: "The models that its keys may use: patterns, one a line." }),
    }, {
      label: "Review changes",
      save: async (changed) => {
        if (await review({ do: "edit_group", name, fields: changed }, { on })) await again();
      },
    });
    fill(settings, h("h2", { id: "settings" }, "Settings"), shown.node);
    return shown;
  }

  async function now() {
    found.group = (await get("group", { name })).group;
    keepingFocus(drawHead);
  }

  fill(main, head, routes, settings);
  draw();
  return {
    keys: now,
    steered: now,
    tick: now,
    config: async () => {
      found = await look("group", { name });
      draw({ keep: true });
    },
  };
}
