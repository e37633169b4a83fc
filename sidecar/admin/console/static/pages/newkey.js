// A new key, or a new text for one: shown once, with the lines that point an agent here.

import { ask, get } from "../api.js";
import { actions, button, copyable, dialog } from "../dialogs.js";
import { fill, h, quiet } from "../dom.js";
import { make } from "../editing.js";
import { choice, formDialog, limits, list, text, urgency } from "../forms.js";

/** Asks for a new key and shows its text. */
export async function create() {
  const { groups } = await get("groups");
  if (!groups.length) return needGroup();
  const fields = {
    group: choice(
      "Group",
      groups[0].name,
      groups.map((each) => [each.name, `${each.name} · ${each.vendor_title} · × ${each.multiplier}`]),
      { help: "Whose vendor, routes, limits and rate it gets." },
    ),
    description: text("Description", "", { placeholder: "the assistant in my editor" }),
    urgency: urgency("", "as the group says", { help: "Who goes first when calls must wait." }),
    expires: text("Expires", "", { placeholder: "never", help: "2h, 30d, or a date such as 2026-12-31." }),
    models: list("Models", [], {
      placeholder: "all that the group allows",
      help: "Patterns such as gpt-5*, one a line. They narrow what the group allows.",
    }),
    budget: list("Budget", [], { placeholder: "$2/day", rows: 1 }),
    limits: limits("Limits", {}, { help: "For this key alone, besides its group’s." }),
  };
  const name = text("Name", "", {
    required: true,
    placeholder: "codex on my laptop",
    help: "What you will know it by: one key for each agent.",
  });
  return formDialog(
    "Create a key",
    { name, ...fields },
    {
      label: "Create",
      all: false,
      save: async ({ name: chosen, ...rest }, close, body) => {
        const sent = { group: fields.group.read(), ...rest };
        const made = await make(
          { do: "create_key", name: chosen, fields: sent },
          `Key ${chosen} was created`,
        );
        if (made) await reveal(body, close, chosen, made.secret, vendorOf(groups, fields.group.read()));
      },
    },
  );
}

function toGroups(close) {
  close();
  location.hash = "#/groups";
}

function needGroup() {
  return dialog("Create a group first", (close) => [
    h("p", {}, "A key belongs to a group, which says whose API its agents speak. There is no group yet."),
    actions(
      button("Cancel", () => close()),
      button("To the groups", () => toGroups(close), "primary"),
    ),
  ]);
}

function vendorOf(groups, name) {
  return groups.find((each) => each.name === name)?.vendor ?? "";
}

/** Asks how long the old text is still accepted, makes a new one and shows it. */
export function rotate(key) {
  const overlap = choice("The text of now", "", [
    ["", "ends at once"],
    ["1h", "is accepted for one more hour"],
    ["1d", "is accepted for one more day"],
    ["7d", "is accepted for seven more days"],
  ]);
  return formDialog(
    `A new text for ${key.name}`,
    { overlap },
    {
      label: "Rotate",
      save: async ({ overlap: chosen }, close, body) => {
        const made = await make(
          { do: "rotate_key", name: key.name, overlap: chosen ?? "" },
          `Key ${key.name} has a new text`,
        );
        if (made) await reveal(body, close, key.name, made.secret, key.vendor);
      },
    },
    h("p", {}, "Agents that hold the old text must be given the new one."),
  );
}

async function reveal(body, close, name, secret, vendor) {
  const done = button("I have copied it", () => close(true), "primary");
  fill(
    body,
    h(
      "p",
      { class: "once" },
      h("strong", {}, "Copy it now: it is shown only this once. "),
      `The file keeps a hash of it, and nothing can bring it back.`,
    ),
    copyable(secret, `The text of key ${name}`, { block: true }),
    await connect(vendor, secret),
    actions(done),
  );
  body.querySelector("button").focus();
}

/** The lines that point an agent or an SDK here; with a key's text, they hold it. */
export async function connect(vendor, secret) {
  const found = await ask("GET", `agents?${new URLSearchParams({ vendor })}`);
  const shown = h("div");
  const select = h(
    "select",
    { "aria-label": "Agent or SDK", onchange: draw },
    [
      ["Fits this key", true],
      ["Speaks another API", false],
    ].map(([label, fits]) => {
      const some = found.agents.filter((each) => each.fits === fits);
      return some.length
        ? h(
            "optgroup",
            { label },
            some.map((each) => h("option", { value: each.name }, each.name)),
          )
        : null;
    }),
  );
  function draw() {
    const agent = found.agents.find((each) => each.name === select.value);
    const lines = agent.lines.replaceAll(found.key, () => secret ?? found.key);
    fill(shown, copyable(`${lines}\n${found.note}`, `Lines for ${agent.name}`, { block: true }));
  }
  draw();
  return h(
    "section",
    { class: "connect" },
    h("h3", {}, "Point an agent at it"),
    h("div", { class: "row" }, select, quiet(`agents connect to ${found.base}`)),
    shown,
  );
}
