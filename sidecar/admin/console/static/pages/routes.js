// The editor of a list of routes, of a key or of a group. Every change is shown before it is written:
// the lines of the file, what changes by it, and where a call would then go.

import { send } from "../api.js";
import { button, icon, switcher, toast, trouble, trying } from "../dialogs.js";
import { fill, h, keepingFocus, points, quiet, under, unique } from "../dom.js";
import { effects, review, shownDigest } from "../editing.js";
import { choice, formDialog, limits, list, text } from "../forms.js";
import {
  asLines,
  asMap,
  matched,
  NO_MATCH,
  row,
  sent,
  translated,
  translation,
  translations,
  words,
} from "./route_rows.js";

const PAUSE = 250; // milliseconds after the last change

/** Draws the editor into `node`. `owner` is { kind: "key" | "group", name, again() }. Answers
 * { touched, dirty } like a form. */
export function editor(node, found, owner) {
  const start = found.routes.map(row);
  const on = shownDigest();
  const own = owner.kind === "group" || found.key.own_routes;
  let rows = start.map((each) => ({ ...each }));
  let touched = false;
  let asked = 0;
  let timer = null;
  const id = unique("routes");
  const banner = h("div");
  const body = h("ol", { class: "routes" });
  const outcome = h("div", { class: "outcome", "aria-live": "polite" });
  const failed = h("div");
  const save = button("Review and save", store, "primary", { disabled: true });
  const reset = button("Discard", discard, "", { hidden: true });
  const model = h("input", {
    type: "text",
    class: "mono",
    list: `${id}-models`,
    "aria-label": "Model to try",
    placeholder: "a model, to see where it goes",
    autocomplete: "off",
    spellcheck: "false",
    oninput: later,
  });
  const names = h("datalist", { id: `${id}-models` });

  function edit() {
    return { do: "set_routes", name: owner.name, of: owner.kind, routes: rows.map(sent) };
  }

  function change(deed, focus) {
    deed();
    touched = true;
    keepingFocus(draw);
    if (focus) document.getElementById(focus)?.focus();
    later();
  }

  function move(index, by) {
    const other = index + by;
    const at = `${id}-${rows[index].mark}-`;
    const [way, back] = by < 0 ? ["up", "down"] : ["down", "up"];
    change(() => {
      [rows[index], rows[other]] = [rows[other], rows[index]];
      rows[0].beside = false;
    }, at + way);
    const moved = /** @type {HTMLButtonElement} */ (document.getElementById(at + way));
    if (moved?.disabled) document.getElementById(at + back)?.focus();
    toast(`${rows[other].provider} is now number ${other + 1}`);
  }

  function draw() {
    save.disabled = !touched;
    reset.hidden = !touched;
    fill(banner, note());
    fill(
      body,
      rows.map((each, index) => line(each, index)),
    );
  }

  function note() {
    if (own) return null;
    const group = found.key.group;
    return touched
      ? h(
          "p",
          { class: "notice", role: "status" },
          h("strong", {}, `The list of group ${group} was copied. `),
          "From now on this key keeps its own list; what the group’s list becomes no longer matters to it.",
        )
      : h(
          "p",
          { class: "quiet" },
          `This key follows the list of group ${group}. The first change copies that list into the key.`,
        );
  }

  function line(each, index) {
    const at = `${id}-${each.mark}`;
    const label = each.provider;
    const arrow = (sign, way, by, last) =>
      icon(sign, `Move ${label} ${way}`, () => move(index, by), {
        id: `${at}-${way}`,
        disabled: index === last,
      });
    return h(
      "li",
      { class: each.enabled ? "" : "off" },
      h(
        "div",
        { class: "route" },
        switcher(`${at}-on`, `Use ${label}`, each.enabled, () =>
          change(() => (each.enabled = !each.enabled)),
        ),
        h(
          "div",
          { class: "what" },
          h("span", { class: "provider" }, label),
          under(words(each)),
          h("div", { class: "under matches", id: `${at}-matches` }, each.matches ?? ""),
        ),
        h(
          "div",
          { class: "buttons" },
          index
            ? h(
                "label",
                { class: "check small" },
                h("input", {
                  type: "checkbox",
                  id: `${at}-beside`,
                  checked: each.beside,
                  onchange: (event) => change(() => (each.beside = event.target.checked)),
                }),
                "same priority as above",
              )
            : null,
          arrow("↑", "up", -1, 0),
          arrow("↓", "down", 1, rows.length - 1),
          button("Edit", () => options(each), "small", { id: `${at}-edit`, "aria-label": `Edit ${label}` }),
          icon("×", `Remove ${label}`, () => change(() => rows.splice(index, 1), `${id}-add`), {
            id: `${at}-remove`,
            disabled: rows.length === 1,
          }),
        ),
      ),
    );
  }

  async function options(each) {
    const api = translation(each);
    const fields = {
      models: list("Models", each.models, {
        placeholder: "all",
        help: "One a line: * is any run, ? is one.",
      }),
      as: list("Asked for as", asLines(each.as), {
        placeholder: "the same name",
        help: "The provider’s name for it, one a line: asked = served; or one for all.",
      }),
      limits: limits("Limits", each.limits, { help: "For this key on this provider." }),
      max_input: text("Largest request", each.max_input, {
        placeholder: "any",
        help: "In estimated input tokens: 32k.",
      }),
      priced_as: text("Priced as", each.priced_as, {
        placeholder: "the served model",
        help: "What an alias or a deployment really is.",
      }),
      retry: choice(
        "Retry",
        each.retry ?? "",
        ["", "if-unserved", "at-least-once"].map((x) => [x, x]),
      ),
      translate: choice("Translate", api, translations(api)),
      redact: list("Redact", each.redact, {
        placeholder: "nothing",
        help: "keys, tokens, email, cards or a /pattern/, one a line.",
      }),
      weight: text("Weight", each.weight, { placeholder: "1", help: "Its part among equals." }),
    };
    const done = await formDialog(`${each.provider}: models, limits, weight`, fields, {
      label: "Done",
      save: (values, close) => close(values),
    });
    if (done)
      change(
        () =>
          Object.assign(each, {
            ...done,
            models: done.models ?? [],
            ...translated(each, done.translate ?? ""),
            redact: done.redact ?? [],
            limits: done.limits ?? {},
            as: asMap(done.as),
          }),
        `${id}-${each.mark}-edit`,
      );
  }

  function later() {
    clearTimeout(timer);
    timer = setTimeout(ask, PAUSE);
  }

  async function ask() {
    asked += 1;
    const mine = asked;
    const question =
      owner.kind === "key" ? { key: owner.name, model: model.value.trim() || "any model" } : null;
    let preview;
    try {
      preview = await send(edit(), on, { preview: true, question });
    } catch (error) {
      if (mine === asked)
        fill(
          outcome,
          error.code === "file_changed"
            ? h("p", { class: "notice" }, "The file was changed meanwhile; saving shows what.")
            : trouble(error),
        );
      return;
    }
    if (mine !== asked) return;
    preview.matches.forEach((names, index) => {
      if (rows[index]) rows[index].matches = matched(names, rows[index]);
    });
    rows.forEach((each) => {
      const place = document.getElementById(`${id}-${each.mark}-matches`);
      if (place) place.textContent = each.matches ?? "";
      place?.classList.toggle("none", each.matches === NO_MATCH);
    });
    fill(
      outcome,
      touched ? [h("h3", {}, "What this changes"), effects(preview)] : null,
      way(preview.question),
    );
  }

  /** Where a call would go. */
  function way(answer) {
    if (!answer || !model.value.trim()) return null;
    return h(
      "div",
      { class: "goes" },
      h("h3", {}, "A call for ", h("code", {}, answer.model), touched ? " would then go to" : " goes to"),
      answer.candidates.length
        ? h(
            "ol",
            {},
            answer.candidates.map((each) =>
              h(
                "li",
                {},
                h("strong", {}, each.provider),
                each.model && each.model !== answer.model ? [" as ", h("code", {}, each.model)] : null,
                each.credential ? quiet(` with ${each.credential}`) : null,
              ),
            ),
          )
        : h("p", { class: "bad" }, "no provider: it is refused."),
      answer.skipped.length
        ? points(
            answer.skipped.map((each) => `not to ${each.provider}: ${each.why}`),
            "quiet",
          )
        : null,
    );
  }

  async function store() {
    fill(failed);
    await trying(failed, async () => {
      if (await review(edit(), { title: "Review the routes", on })) await owner.again();
    });
  }

  function discard() {
    rows = start.map((each) => ({ ...each }));
    touched = false;
    draw();
    later();
  }

  async function follow() {
    const lead = `The key’s own list goes; it follows the list of group ${found.key.group} again.`;
    await trying(failed, async () => {
      if (
        await review(
          { do: "set_routes", name: owner.name, routes: null },
          { title: "Follow the group again", label: "Follow the group", lead, on },
        )
      )
        await owner.again();
    });
  }

  const add = h(
    "select",
    {
      id: `${id}-add`,
      "aria-label": "Add a provider",
      onchange: () => {
        const chosen = found.providers.find((each) => each.name === add.value);
        add.value = "";
        if (chosen) {
          const { name: provider, translate } = chosen;
          change(
            () => rows.push(row({ provider, translate, enabled: true, models: [], limits: {} }, rows.length)),
            `${id}-add`,
          );
        }
      },
    },
    h("option", { value: "" }, "Add a provider …"),
    found.providers.map((each) =>
      h("option", { value: each.name }, [
        each.name === each.title.toLowerCase() ? each.name : `${each.name} (${each.title})`,
        each.translate ? ", translated" : "",
      ]),
    ),
  );

  fill(
    node,
    h(
      "div",
      { class: "title" },
      h("h2", { id: "routes" }, "Model routes"),
      owner.kind === "key" && own ? button("Follow the group", follow, "small") : null,
    ),
    quiet("Tried from the top; the next one is tried when one fails or is full."),
    banner,
    body,
    h("div", { class: "row tools" }, add, owner.kind === "key" ? [model, names] : null),
    outcome,
    failed,
    h("div", { class: "actions" }, reset, save),
  );
  draw();
  if (owner.kind === "key") warm();

  /** Have the providers' lists fetched, and show what the patterns match now. */
  async function warm() {
    const { get } = await import("../api.js");
    const answer = await get("models", { key: owner.name }).catch(() => ({ models: [] }));
    fill(
      names,
      answer.models.map((each) => h("option", { value: each.id })),
    );
    ask();
  }

  return { touched: () => touched, dirty: () => touched || node.contains(document.activeElement) };
}
