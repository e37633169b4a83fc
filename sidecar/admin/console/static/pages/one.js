// The page of one key, group or provider: a head that follows what happens, and forms that keep typed
// text when the file changes.

import { get } from "../api.js";
import { fill, h, keepingFocus } from "../dom.js";
import { kept, look, review, shownDigest } from "../editing.js";
import { form } from "../forms.js";
import { PAGES } from "../pages.js";
import { editor } from "./routes.js";

/**
 * Shows it. `head(found, page)` answers what follows the process, `fields(found)` the fields of its
 * settings, `tidy(changed)` the changed ones as the file has them; `more` asks for what else the head
 * shows; with `routes` there is their editor. Answers what the page hears, how to draw its head, and
 * how to ask for that anew (`now`) or for everything (`again`).
 */
export async function one(
  main,
  kind,
  name,
  { head, fields, tidy = (changed) => changed, more = () => {}, routes = false },
) {
  let found = await look(kind, { name });
  let drawn = [];
  const top = h("div");
  const settings = h("section", { class: "card", "aria-labelledby": "settings" });
  const order = routes && h("section", { class: "card", "aria-labelledby": "routes" });
  const over = PAGES.find((each) => each.path === `${kind}s`);
  const forms = [drawSettings, routes && (() => editor(order, found, { kind, name, again }))].filter(Boolean);
  const page = { found: () => found, redraw, now, again, steered: now, tick: now, config: () => again(true) };

  function redraw() {
    fill(top, h("p", { class: "crumbs" }, h("a", { href: `#/${over.path}` }, over.label)), head(found, page));
  }

  function drawSettings() {
    const on = shownDigest();
    const shown = form(fields(found), {
      label: "Review changes",
      save: async (changed) => {
        if (await review({ do: `edit_${kind}`, name, fields: tidy(changed) }, { on })) await again();
      },
    });
    fill(settings, h("h2", { id: "settings" }, "Settings"), shown.node);
    return shown;
  }

  function draw(keep) {
    redraw();
    if (keep && drawn.some((each) => each.touched())) kept();
    drawn = forms.map((form, index) => (keep && drawn[index].dirty() ? drawn[index] : form()));
  }

  async function again(keep) {
    found = await look(kind, { name });
    draw(keep);
  }

  async function now() {
    const [fresh] = await Promise.all([get(kind, { name }), more()]);
    Object.assign(found, { [kind]: fresh[kind], uses: fresh.uses });
    keepingFocus(redraw);
  }

  fill(main, top, order, settings);
  draw();
  return page;
}
