// Fields of forms. Each is { node, read(), changed() }: `read` gives the value as the file would
// have it, and null for nothing; `changed` says whether a person touched it.

import { button, dialog, icon, toast, trying } from "./dialogs.js";
import { fill, h, unique } from "./dom.js";

const KINDS = ["rpm", "rpd", "tpm", "itpm", "otpm", "tpd", "concurrency"];
const MEANT = {
  rpm: "requests a minute",
  rpd: "requests a day",
  tpm: "tokens a minute",
  itpm: "input tokens a minute",
  otpm: "output tokens a minute",
  tpd: "tokens a day",
  concurrency: "calls at one time",
};

/** A label, a control and what helps to fill it. */
export function field(label, control, help) {
  control.id ||= unique("field");
  const id = control.id;
  if (help) control.setAttribute("aria-describedby", `${id}-help`);
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    control,
    help ? h("p", { class: "help", id: `${id}-help` }, help) : null,
  );
}

/** One line of text. */
export function text(
  label,
  value,
  /** @type {Record<string, any>} */ { help, placeholder, required, list, mono } = {},
) {
  const before = value ?? "";
  const input = h("input", {
    type: "text",
    value: before,
    placeholder,
    required,
    list,
    autocomplete: "off",
    spellcheck: "false",
    class: mono ? "mono" : "",
    "aria-required": required ? "true" : null,
  });
  return {
    node: field(label, input, help),
    input,
    read: () => input.value.trim() || null,
    changed: () => input.value.trim() !== before,
  };
}

/** One of several; `choices` are [value, words]. */
export function choice(label, value, choices, /** @type {Record<string, any>} */ { help } = {}) {
  const before = value ?? "";
  const select = h(
    "select",
    {},
    choices.map(([each, words]) => h("option", { value: each }, words)),
  );
  select.value = before;
  return {
    node: field(label, select, help),
    input: select,
    read: () => select.value || null,
    changed: () => select.value !== before,
  };
}

/** How urgent; `none` says what is meant where nothing is chosen. */
export function urgency(value, none, options) {
  return choice(
    "Urgency",
    value,
    [
      ["", none],
      ["interactive", "interactive: a person waits"],
      ["normal", "normal"],
      ["background", "background: can wait"],
    ],
    options,
  );
}

/** A list of short texts, one a line. */
export function list(label, values, /** @type {Record<string, any>} */ { help, placeholder, rows = 2 } = {}) {
  const before = (Array.isArray(values) ? values : values ? [values] : []).join("\n");
  const area = h("textarea", {
    rows: Math.max(rows, before.split("\n").length),
    placeholder,
    spellcheck: "false",
    autocomplete: "off",
    class: "mono",
  });
  area.value = before;
  const read = () =>
    area.value
      .split(/[\n,]/)
      .map((each) => each.trim())
      .filter(Boolean);
  return {
    node: field(label, area, help),
    input: area,
    read: () => (read().length ? read() : null),
    changed: () => read().join("\n") !== before,
  };
}

/** Limits: rows of a kind, an amount, and models that they are for. */
export function limits(label, value, /** @type {Record<string, any>} */ { help, onchange = () => {} } = {}) {
  const rows = h("div", { class: "rows" });
  const name = unique("limits");
  const entries = taken(value ?? {});
  const before = JSON.stringify(joined(entries));
  const add = button(
    "Add a limit",
    () => {
      entries.push({
        kind: KINDS.find((kind) => !entries.some((each) => each.kind === kind)) ?? "rpm",
        amount: "",
        models: "",
      });
      draw();
      rows.lastElementChild.querySelector("input").focus();
    },
    "plain add",
  );
  function remove(index) {
    entries.splice(index, 1);
    draw();
    add.focus();
    onchange();
  }
  function draw() {
    fill(
      rows,
      entries.map((entry, index) => limitRow(entry, index, () => remove(index), onchange)),
    );
  }
  draw();
  const node = h(
    "fieldset",
    { class: "field", "aria-describedby": help ? `${name}-help` : null },
    h("legend", {}, label),
    rows,
    add,
    help ? h("p", { class: "help", id: `${name}-help` }, help) : null,
  );
  const read = () => joined(entries);
  return {
    node,
    read: () => (Object.keys(read()).length ? read() : null),
    changed: () => JSON.stringify(read()) !== before,
  };
}

function limitRow(entry, index, remove, onchange) {
  const of = `limit ${index + 1}`;
  const set = (field, value) => {
    entry[field] = value;
    onchange();
  };
  const kind = h(
    "select",
    { "aria-label": `Kind of ${of}`, onchange: () => set("kind", kind.value) },
    KINDS.map((each) => h("option", { value: each }, `${each}: ${MEANT[each]}`)),
  );
  kind.value = entry.kind;
  return h(
    "div",
    { class: "row" },
    kind,
    h("input", {
      type: "text",
      class: "mono short",
      value: entry.amount,
      placeholder: "200k",
      "aria-label": `Amount of ${of}`,
      oninput: (event) => set("amount", event.target.value.trim()),
    }),
    h("input", {
      type: "text",
      class: "mono",
      value: entry.models,
      placeholder: "all models",
      "aria-label": `Models of ${of}`,
      oninput: (event) => set("models", event.target.value.trim()),
    }),
    icon("×", `Remove ${of}`, remove),
  );
}

function taken(value) {
  const rows = [];
  for (const [kind, amount] of Object.entries(value)) {
    if (kind === "models") {
      for (const [models, inner] of Object.entries(amount)) {
        for (const [each, most] of Object.entries(inner))
          rows.push({ kind: each, amount: String(most), models });
      }
    } else rows.push({ kind, amount: String(amount), models: "" });
  }
  return rows;
}

function joined(rows) {
  const found = {};
  const byModel = {};
  for (const { kind, amount, models } of rows) {
    if (!amount) continue;
    if (!models) found[kind] = amount;
    else byModel[models] = { ...byModel[models], [kind]: amount };
  }
  return Object.keys(byModel).length ? { ...found, models: byModel } : found;
}

/** Headroom: the parts of each limit that are kept from less urgent calls. */
export function headroom(value) {
  const part = (name, help) =>
    text(`Headroom: kept from ${name} calls`, value?.[name], { placeholder: "as the defaults say", help });
  const background = part("background", "The part of each limit here, such as 30%.");
  const normal = part("normal", "And from background ones.");
  const parts = { background, normal };
  return {
    node: [background.node, normal.node],
    read: () => {
      const found = Object.entries(parts).filter(([, each]) => each.read());
      return found.length ? Object.fromEntries(found.map(([name, each]) => [name, each.read()])) : null;
    },
    changed: () => background.changed() || normal.changed(),
  };
}

/** A form, which is `touched` once something in it was changed, and `dirty` while it must not be
 * drawn anew: its fields, and a button that hands the changed ones to `save(fields)`; what the
 * process declines is shown in it. */
export function form(
  fields,
  /** @type {Record<string, any>} */ { label = "Save", save, all = false, cancel } = {},
) {
  const failed = h("div");
  const submit = h("button", { type: "submit", class: "primary" }, label);
  const node = h(
    "form",
    { novalidate: true, onsubmit: sent },
    Object.values(fields).map((each) => each.node),
    failed,
    h("div", { class: "actions" }, cancel ? button("Cancel", cancel) : null, submit),
  );
  async function sent(event) {
    event.preventDefault();
    fill(failed);
    const empty = Object.values(fields).find((each) => each.input?.required && !each.read());
    if (empty) {
      empty.input.setAttribute("aria-invalid", "true");
      return empty.input.focus();
    }
    const chosen = Object.entries(fields).filter(([, each]) => all || each.changed());
    if (!chosen.length) return toast("There is nothing to save.");
    submit.disabled = true;
    await trying(failed, () => save(Object.fromEntries(chosen.map(([name, each]) => [name, each.read()]))));
    submit.disabled = false;
  }
  const touched = () => Object.values(fields).some((each) => each.changed());
  return { node, touched, dirty: () => touched() || node.contains(document.activeElement) };
}

/** A dialog with a form of all fields below `above`; `save(values, close, body)` closes it. */
export function formDialog(heading, fields, options, ...above) {
  return dialog(heading, (close, body) => [
    above,
    form(fields, {
      all: true,
      cancel: () => close(),
      ...options,
      save: (values) => options.save(values, close, body),
    }).node,
  ]);
}
