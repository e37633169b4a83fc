// Groups: rate tiers, each of one vendor.

import { button, sure } from "../dialogs.js";
import { fill, h, lead, quiet, title, under } from "../dom.js";
import { look, make } from "../editing.js";
import { counted } from "../format.js";
import { choice, formDialog, text } from "../forms.js";
import { uses } from "../meters.js";
import { address, link } from "../pages.js";
import { pausedMark } from "../steering.js";
import { table } from "../table.js";

export async function show(main) {
  let found = await look("groups");
  const rows = table(
    "Groups",
    [
      {
        head: "Name",
        class: "name",
        sort: (each) => each.name,
        cell: (each) => [
          link("groups", each.name, { id: `group-${each.name}` }),
          " ",
          pausedMark(each),
          each.description ? under(each.description) : null,
        ],
      },
      {
        head: "Vendor",
        sort: (each) => each.vendor_title,
        cell: (each) => each.vendor_title,
      },
      {
        head: "Group (rate)",
        class: "figure",
        sort: (each) => Number(each.multiplier),
        cell: (each) => h("span", { title: "times the list price" }, `× ${each.multiplier}`),
      },
      { head: "Limits, used now", cell: (each) => uses(each.uses) ?? quiet("none") },
      {
        head: "Tried in order",
        cell: (each) =>
          each.providers.map((one, index) => [
            index ? quiet(" → ") : null,
            h("span", { class: one.enabled ? "" : "struck" }, one.provider),
          ]),
      },
      {
        head: "Shared by",
        sort: (each) => -each.keys.length,
        cell: (each) => [
          counted(each.keys.length, "key"),
          each.in_flight ? under(`${counted(each.in_flight, "call")} running`) : null,
        ],
      },
    ],
    {
      id: "groups",
      keyOf: (each) => each.name,
      empty: () => [
        h("h2", {}, "No groups yet"),
        h("p", {}, "A group says whose API its keys speak, at what rate and under which limits."),
        button("Create a group", () => create(found.vendors), "primary"),
      ],
    },
  );

  fill(
    main,
    title(
      "Groups",
      button("Create a group", () => create(found.vendors), "primary", { id: "create" }),
    ),
    lead(
      "A group is a rate tier of one vendor. Its keys share its limits, its budget and, unless they keep their own, its routes.",
    ),
    rows.node,
  );
  rows.update(found.groups);
  const again = async () => {
    found = await look("groups");
    rows.update(found.groups);
  };
  return { config: again, keys: again, steered: again, tick: again };
}

async function create(vendors) {
  const fields = {
    name: text("Name", "", { required: true, placeholder: "Claude" }),
    vendor: choice(
      "Vendor",
      vendors[0]?.name,
      vendors.map((each) => [each.name, each.title]),
      {
        help: "Whose API the agents of this group speak. Its routes may lead to any provider that serves it.",
      },
    ),
    multiplier: text("Rate", "", { placeholder: "1", help: "Times the list price: 0.9 is ten percent off." }),
    description: text("Description", ""),
  };
  const made = await formDialog("Create a group", fields, {
    label: "Create",
    save: async ({ name, ...rest }, close) => {
      if (await make({ do: "create_group", name, fields: rest }, `Group ${name} was created`)) close(name);
    },
  });
  if (made) location.hash = address("groups", made);
}

/** Asks whether a group shall go. */
export async function removeGroup(group) {
  const gone = await sure(
    `Delete ${group.name}?`,
    h(
      "p",
      {},
      group.keys.length
        ? `${counted(group.keys.length, "key")} belong to it: move or delete them first.`
        : "No key belongs to it.",
    ),
    "Delete",
    async () =>
      Boolean(await make({ do: "delete_group", name: group.name }, `Group ${group.name} was deleted`)),
    { kind: "danger", disabled: group.keys.length > 0 },
  );
  if (gone) location.hash = "#/groups";
}
