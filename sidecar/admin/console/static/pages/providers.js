// Providers: the places that serve a vendor's API. Their credentials are named here, never shown.

import { ask } from "../api.js";
import { button } from "../dialogs.js";
import { fill, h, lead, quiet, title, under } from "../dom.js";
import { look, make } from "../editing.js";
import { counted } from "../format.js";
import { choice, formDialog, text } from "../forms.js";
import { resting, uses } from "../meters.js";
import { address, link } from "../pages.js";
import { pausedMark } from "../steering.js";
import { table } from "../table.js";

export async function show(main) {
  let found = await look("groups");
  const rows = table(
    "Providers",
    [
      {
        head: "Name",
        class: "name",
        sort: (each) => each.name,
        cell: (each) => [
          link("providers", each.name, { id: `provider-${each.name}` }),
          under(each.vendor_title),
        ],
      },
      { head: "State", sort: (each) => (each.available ? 1 : 0), cell: available },
      {
        head: "Address",
        class: "lesser address",
        cell: (each) =>
          h("span", { class: "mono small" }, each.base_url || "none: it runs within this process"),
      },
      { head: "Credential", class: "credential", cell: credentials },
      {
        head: "Limits, used now",
        class: "lesser",
        cell: (each) => uses(each.uses) ?? quiet("none"),
      },
      { head: "Used by", cell: (each) => each.groups.join(", ") || quiet("no group") },
      { head: "", say: "Test", class: "switch", cell: (each) => tester(each, "small") },
    ],
    {
      id: "providers",
      empty: () => h("p", {}, "No provider is in use yet: create a group."),
      keyOf: (each) => each.name,
    },
  );

  fill(
    main,
    title(
      "Providers",
      button("Add a provider", () => create(found.vendors), "primary", { id: "create" }),
    ),
    lead(
      "Where calls are sent. A credential is read from where you keep it; the console says where that is and whether it is there, and never shows it.",
    ),
    rows.node,
  );
  rows.update(found.providers);
  const again = async () => {
    found = await look("groups");
    rows.update(found.providers);
  };
  return { config: again, keys: again, steered: again, tick: again };
}

/** Whether a provider can be used, and why not. */
export function available(each) {
  return [pausedMark(each), " ", ready(each)];
}

function ready(each) {
  const rests = resting(each.resting);
  if (each.available && rests) return [h("span", { class: "status warn" }, "cooling down"), under(rests)];
  return each.available
    ? h("span", { class: "status good" }, "available")
    : [h("span", { class: "status bad" }, "unavailable"), under(each.why_not)];
}

/** Where its credentials come from, and whether they are there. */
export function credentials(each) {
  if (!each.credentials.length) return quiet("needs none");
  if (each.credentials[0].reference === "caller") return quiet("each caller’s own login");
  return each.credentials.map((one) =>
    h(
      "div",
      {},
      h("span", { class: "mono small" }, one.reference),
      " ",
      one.reference === "none"
        ? null
        : h(
            "span",
            { class: one.why_not ? "tag bad" : "tag good", title: one.why_not || null },
            one.why_not ? "not set" : "set",
          ),
    ),
  );
}

const outcomes = new Map(); // of the last test of each provider, since pages are drawn anew

/** A button that asks a provider for its models, and what came of it. */
export function tester(each, kind = "") {
  const outcome = h("div", { class: "under", role: "status" });
  const test = button("Test", work, kind, {
    id: `test-${each.name}`,
    "aria-label": `Test ${each.name}`,
    title: "Asks for its list of models, which costs nothing",
  });
  function say(kind, words) {
    outcomes.set(each.name, [kind, words]);
    outcome.className = `under ${kind}`;
    outcome.textContent = words;
  }
  async function work() {
    say("", "asking …");
    try {
      const found = await ask("POST", `probe?${new URLSearchParams({ name: each.name })}`, {});
      if (found.why_not) say("bad", found.why_not);
      else say("good", `answers in ${found.ms} ms, ${counted(found.models, "model")}`);
    } catch (error) {
      say("bad", error.message);
    }
    // The page may have been drawn anew while the answer was on its way.
    const shown = document.getElementById(test.id);
    if (shown && shown !== test) shown.nextElementSibling.replaceWith(outcome);
  }
  if (outcomes.has(each.name)) say(...outcomes.get(each.name));
  return [test, outcome];
}

const CREDENTIAL =
  "env:NAME, file:PATH, command:…, keyring:SERVICE/USER, none, or caller for the agent’s own vendor login. Never the secret itself.";

async function create(vendors) {
  const fields = {
    name: text("Name", "", { required: true, placeholder: "azure-eu" }),
    plugin: choice(
      "Vendor",
      vendors[0]?.name,
      vendors.map((each) => [each.name, each.title]),
      { help: "The plugin that drives it." },
    ),
    base_url: text("Address", "", {
      placeholder: "the vendor’s own",
      help: "What the vendor’s own SDK takes as its base URL.",
      mono: true,
    }),
    credential: text("Credential", "", {
      placeholder: "the vendor’s usual variable",
      help: CREDENTIAL,
      mono: true,
    }),
  };
  const made = await formDialog("Add a provider", fields, {
    label: "Add",
    save: async ({ name, ...rest }, close) => {
      if (await make({ do: "create_provider", name, fields: rest }, `Provider ${name} was added`))
        close(name);
    },
  });
  if (made) location.hash = address("providers", made);
}
