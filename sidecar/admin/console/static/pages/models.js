// Models: all that keys may use, and which keys.

import { get } from "../api.js";
import { fill, h, lead, searchBox, title } from "../dom.js";
import { counted } from "../format.js";
import { link } from "../pages.js";
import { table } from "../table.js";

const FEW = 6;

export async function show(main) {
  let models = [];
  let keys = [];
  const search = searchBox("Search models", () => draw());
  const who = h("select", { id: "who", "aria-label": "Only what this key may use", onchange: () => draw() });
  const found = h("p", { class: "quiet count", role: "status" });
  const rows = table(
    "Models",
    [
      {
        head: "Model",
        sort: (each) => each.id,
        class: "name",
        cell: (each) => h("span", { class: "mono" }, each.id),
      },
      {
        head: "Keys",
        class: "short",
        sort: (each) => -each.keys.length,
        cell: (each) => String(each.keys.length),
      },
      { head: "May be used by", cell: (each) => holders(each) },
    ],
    {
      id: "models",
      empty: () =>
        h(
          "p",
          {},
          "No model fits. A provider that is unavailable, or that has no list of models, shows only the names that the file spells out.",
        ),
    },
  );

  function holders(each) {
    if (each.keys.length === keys.length && keys.length > FEW) return "every key";
    const links = each.keys.slice(0, FEW).map((name) => link("keys", name, { class: "chip link" }));
    const rest = each.keys.slice(FEW);
    return h(
      "div",
      { class: "chips" },
      links,
      rest.length
        ? h(
            "details",
            {},
            h("summary", {}, `${rest.length} more`),
            h(
              "div",
              { class: "chips" },
              rest.map((name) => link("keys", name, { class: "chip link" })),
            ),
          )
        : null,
    );
  }

  function draw() {
    const words = search.value.toLowerCase();
    const shown = models.filter(
      (each) => each.id.toLowerCase().includes(words) && (!who.value || each.keys.includes(who.value)),
    );
    found.textContent =
      shown.length === models.length
        ? counted(models.length, "model")
        : `${shown.length} of ${counted(models.length, "model")}`;
    rows.update(shown);
  }

  async function load() {
    [{ models }, { keys }] = await Promise.all([get("models"), get("keys")]);
    const chosen = who.value;
    fill(
      who,
      h("option", { value: "" }, "Any key"),
      keys.map((each) => h("option", { value: each.name }, each.name)),
    );
    who.value = chosen;
    draw();
  }

  fill(
    main,
    title("Models"),
    lead("What the providers list now and the file spells out, as far as some key may use it."),
    h("div", { class: "tools" }, search, who, found),
    rows.node,
  );
  await load();
  return { config: load };
}
