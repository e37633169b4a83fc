// Dialogs and notices. The browser’s own <dialog> keeps the focus inside.

import { fill, h, points, unique } from "./dom.js";

const SHORT = 6000; // milliseconds that a notice stays
const LONG = 15000; // … one with something to press
const MOST = 3; // notices at one time; one on a phone, which the newest replaces
const PHONE = matchMedia("(max-width: 760px)");

/**
 * A dialog. `build(close, body)` answers its content; `close(value)` ends it. Answers a promise of
 * the value; null when it was dismissed.
 */
export function dialog(title, build, { wide = false } = {}) {
  return new Promise((resolve) => {
    const id = unique("dialog");
    let value = null;
    const over = () => {
      node.remove();
      resolve(value);
    };
    const body = h("div", { class: "dialog-body" });
    const node = h(
      "dialog",
      {
        "aria-labelledby": id,
        class: wide ? "wide" : "",
        onclose: over,
        // What is shown only once does not go at the press of a key.
        oncancel: (event) => body.querySelector(".once") && event.preventDefault(),
      },
      h(
        "header",
        {},
        h("h2", { id }, title),
        icon("×", "Close", () => close()),
      ),
      body,
    );
    const close = (found = null) => {
      value = found;
      node.close();
      over(); // its event is late
    };
    fill(body, build(close, body));
    document.body.append(node);
    node.showModal();
    (
      body.querySelector("input:not([type=checkbox]), select, textarea") ??
      body.querySelector(".actions button")
    )?.focus();
  });
}

/** The buttons at the end of a dialog or a form. */
export function actions(...buttons) {
  return h("div", { class: "actions" }, buttons);
}

/** A dialog whose one deed may fail. Answers true when `deed` did not answer false. */
export function sure(
  title,
  content,
  label,
  deed,
  /** @type {Record<string, any>} */ { kind = "primary", wide = false, keep = "Cancel", ...props } = {},
) {
  return dialog(
    title,
    (close) => {
      const failed = h("div");
      const work = () => trying(failed, async () => (await deed()) !== false && close(true));
      return [
        content,
        failed,
        actions(
          button(keep, () => close()),
          button(label, work, kind, props),
        ),
      ];
    },
    { wide },
  );
}

/** Does something that the process may decline, and shows in `failed` why. */
export async function trying(failed, deed) {
  try {
    await deed();
  } catch (error) {
    fill(failed, trouble(error));
  }
}

/** A button. `kind` is "primary", "danger" or "". What it starts is not started twice at once. */
export function button(label, deed, kind = "", props = {}) {
  let busy = false;
  async function onclick(event) {
    if (busy) return;
    busy = true;
    try {
      await deed(event);
    } finally {
      busy = false;
    }
  }
  return h("button", { class: kind, onclick, ...props }, label);
}

/** A button with a sign in place of words. */
export function icon(sign, label, onclick, props = {}) {
  return h("button", { class: "plain icon", "aria-label": label, onclick, ...props }, sign);
}

/** A switch, which is on or off. */
export function switcher(id, label, on, onclick) {
  return h("button", {
    role: "switch",
    class: "toggle",
    id,
    "aria-checked": String(on),
    "aria-label": label,
    onclick,
  });
}

/** Says something in passing; `press` is the label and the deed of a button. */
export function toast(text, press) {
  const node = h("div", { class: "toast" }, h("span", {}, text));
  const gone = () => node.remove();
  if (press) {
    const [label, deed] = press;
    const pressed = () => {
      gone();
      return deed();
    };
    node.append(button(label, pressed, "plain"));
  }
  node.append(icon("×", "Dismiss", gone));
  const place = document.getElementById("toasts");
  while (place.children.length >= (PHONE.matches ? 1 : MOST)) place.firstElementChild.remove();
  place.append(node);
  let timer = setTimeout(gone, press ? LONG : SHORT);
  node.addEventListener("pointerenter", () => clearTimeout(timer));
  node.addEventListener("focusin", () => clearTimeout(timer));
  node.addEventListener("pointerleave", () => (timer = setTimeout(gone, SHORT)));
}

/** A box that shows an error; it takes the focus, so that screen readers announce it. */
export function trouble(error) {
  const lines = (error.details?.problems ?? []).map((each) => each.text ?? each);
  const box = h(
    "div",
    { class: "trouble", role: "alert", tabindex: "-1" },
    h("strong", {}, error.message),
    lines.length ? points(lines) : null,
  );
  queueMicrotask(() => box.focus());
  return box;
}

/** A text with a button that copies it. `label` says what it is. */
export function copyable(text, label, { block = false } = {}) {
  const id = unique("copy");
  const copy = button("Copy", copied, "", { "aria-describedby": id });
  async function copied() {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(shown);
      copy.textContent = "Press Ctrl+C";
    }
    setTimeout(() => (copy.textContent = "Copy"), 2000);
  }
  const shown = h(block ? "pre" : "code", { id, class: "secret", tabindex: "0", "aria-label": label }, text);
  return h("div", { class: block ? "copyable block" : "copyable" }, shown, copy);
}
