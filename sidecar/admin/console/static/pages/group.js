// One group: its rate, its limits, its routes, and the keys that share it.

import { button } from "../dialogs.js";
import { facts, h, lead, quiet, title } from "../dom.js";
import { choice, headroom, limits, list, text, urgency } from "../forms.js";
import { uses } from "../meters.js";
import { link } from "../pages.js";
import { pausedMark, pauser } from "../steering.js";
import { removeGroup } from "./groups.js";
import { one } from "./one.js";

const SOME = 20; // keys that are named

export async function show(main, [name]) {
  const page = await one(main, "group", name, { head, fields, routes: true });
  return { ...page, keys: page.now };
}

function head({ group }, page) {
  return [
    title(
      group.name,
      pausedMark(group),
      h(
        "div",
        { class: "actions" },
        pauser("group", group, page.now),
        button("Delete", () => removeGroup(group), "danger", { id: "delete" }),
      ),
    ),
    lead(group.description || `Agents of this group speak ${group.vendor_title}’s API.`),
    h(
      "section",
      { class: "card" },
      facts([
        ["Vendor", group.vendor_title],
        ["Group (rate)", `× ${group.multiplier}`],
        [
          "Keys",
          group.keys.length
            ? [
                group.keys.slice(0, SOME).map((each, index) => [index ? ", " : null, link("keys", each)]),
                group.keys.length > SOME ? ` and ${group.keys.length - SOME} more` : null,
              ]
            : "none",
        ],
      ]),
      h("h3", {}, "Limits, used now"),
      uses(group.uses) ?? quiet("No limit and no budget."),
    ),
  ];
}

function fields({ written: own }) {
  return {
    multiplier: text("Rate", own.multiplier, {
      placeholder: "1",
      help: "Times the list price: 0.9 is ten percent off.",
    }),
    description: text("Description", own.description),
    limits: limits("Limits", own.limits, { help: "Shared by all of its keys." }),
    budget: list("Budget", own.budget, {
      placeholder: "$20/day",
      rows: 1,
      help: "One a line: $20/day, $300/month.",
    }),
    headroom: headroom(own.headroom),
    urgency: urgency(own.urgency, "as the defaults say", { help: "Of its keys that do not say." }),
    models: list("Models", own.models, {
      placeholder: "all",
      help: "The models that its keys may use: patterns, one a line.",
    }),
    count_tokens: choice("Requests that count tokens", own.count_tokens, [
      ["", "as the provider answers"],
      ["estimate", "an estimate where it has no count"],
    ]),
  };
}
