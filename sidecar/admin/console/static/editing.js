// Edits of the file: previewed where that helps, made, and undone. When the file was changed meanwhile,
// nothing is written: a dialog shows what changed and offers to repeat the edit.

import { Declined, get, send } from "./api.js";
import { actions, button, dialog, toast, trouble, trying } from "./dialogs.js";
import { h, points, quiet } from "./dom.js";
import { counted } from "./format.js";

const KINDS = { "+": "added", "-": "removed" };

/** The digest of the file that the pages show. */
let seen = "";

/** The page shows this file. */
export function showing(digest) {
  if (digest) seen = digest;
}

/** The digest of the file on the page. */
export function shownDigest() {
  return seen;
}

/** Makes an edit and says so. Answers the process's answer; null when it was given up. Raises
 * `Declined` for the caller to show. `on` is the digest of the file that the edit was made by. */
export async function make(edit, said, on = seen) {
  let made;
  try {
    made = await send(edit, on);
  } catch (error) {
    if (error.code !== "file_changed") throw error;
    made = await again(edit, error);
    if (!made) return null;
  }
  showing(made.digest);
  tell(made, said);
  return made;
}

/** The file changed while something was being typed, which stays. */
export function kept() {
  toast("The file was changed meanwhile. What you typed is kept; saving it shows what changed.");
}

/** Makes an edit and shows a failure in a dialog of its own. */
export async function makeOrSay(edit, said, on) {
  try {
    return await make(edit, said, on);
  } catch (error) {
    await sorry(error);
    return null;
  }
}

/** Shows what an edit would do to the file, and makes it if that is wanted. */
export async function review(
  edit,
  /** @type {Record<string, any>} */ {
    title = "Review the change",
    label = "Save",
    kind = "primary",
    said,
    lead,
    on = seen,
  } = {},
) {
  let preview;
  try {
    preview = await send(edit, on, { preview: true });
  } catch (error) {
    if (error.code !== "file_changed") throw error;
    preview = await again(edit, error, { preview: true });
    if (!preview) return null;
  }
  return dialog(
    title,
    (close) => {
      const failed = h("div");
      const save = button(label, work, kind, { disabled: preview.problems.length > 0 });
      async function work() {
        save.disabled = true;
        await trying(failed, async () => {
          const made = await make(edit, said, preview.digest);
          if (made) close(made);
        });
        save.disabled = false;
      }
      return [
        lead ? h("p", {}, lead) : null,
        effects(preview),
        failed,
        actions(
          button("Cancel", () => close()),
          save,
        ),
      ];
    },
    { wide: true },
  );
}

/** What a preview found: the effective changes, the problems, and the lines of the file. */
export function effects(preview) {
  if (preview.problems.length) {
    const error = new Declined(422, {
      message: "The file would not be right with this:",
      problems: preview.problems,
    });
    return [trouble(error), diff(preview.diff)];
  }
  const lines = preview.difference;
  return [
    lines.length
      ? points(lines, "effects")
      : h(
          "p",
          { class: "quiet" },
          preview.diff.length ? "Nothing in force changes by this." : "Nothing changes.",
        ),
    diff(preview.diff),
  ];
}

/** The lines of the file that change. */
export function diff(rows) {
  if (!rows.length) return null;
  return h(
    "div",
    { class: "code diff", tabindex: "0", role: "region", "aria-label": "Lines of the file" },
    rows.map((row, index) =>
      row.mark === "@"
        ? h("div", { class: "gap", "aria-hidden": "true" }, "⋯")
        : h(
            "div",
            { class: KINDS[row.mark] ?? "" },
            h("span", { class: "number", "aria-hidden": "true" }, row.line),
            h("span", { class: "mark", "aria-hidden": "true" }, row.mark),
            KINDS[row.mark] ? h("span", { class: "unseen" }, `${KINDS[row.mark]}: `) : null,
            marked(row, rows[index + { "+": -1, "-": 1 }[row.mark]]),
          ),
    ),
  );
}

/** A line's text; where a removed line stands just above the added one, what differs is marked. */
function marked(row, other) {
  if (!other || row.mark === " " || other.mark === " " || other.mark === row.mark || other.mark === "@")
    return row.text;
  const [a, b] = [row.text, other.text];
  let start = 0;
  while (start < a.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < Math.min(a.length, b.length) - start && a.at(-1 - end) === b.at(-1 - end)) end += 1;
  return [a.slice(0, start), h("mark", {}, a.slice(start, a.length - end)), a.slice(a.length - end)];
}

/** The file was changed meanwhile: shows what changed, and repeats the edit if that is wanted. */
async function again(edit, error, more = {}) {
  const { digest, changed } = error.details;
  const going = edit.do === "restore";
  const wanted = await dialog("The file was changed meanwhile", (close) => [
    h("p", {}, "It was saved after this page read it. Nothing of yours was written. Since then:"),
    changed
      ? points(changed, "effects")
      : quiet("It is not known what changed: the version that you saw is not kept."),
    h(
      "p",
      {},
      going
        ? "Going back now would undo these changes as well."
        : "Yours can be made on the file as it is now.",
    ),
    actions(
      button("Cancel", () => close()),
      button(
        going ? "Go back all the same" : "Make my change",
        () => close(true),
        going ? "danger" : "primary",
      ),
    ),
  ]);
  return wanted ? send(edit, digest, more) : null;
}

function tell(made, said) {
  const lines = made.difference;
  const text =
    said ??
    (lines.length > 1
      ? `Saved: ${counted(lines.length, "change")}`
      : lines[0]
        ? `Saved: ${lines[0]}`
        : "Saved");
  if (!made.undo) return toast(text);
  const back = { do: "restore", name: String(made.undo) };
  toast(text, ["Undo", () => makeOrSay(back, "Undone: the file is as it was before", made.digest)]);
}

function sorry(error) {
  return dialog("That did not work", (close) => [
    trouble(error),
    actions(button("Close", () => close(), "primary")),
  ]);
}

/** Returns the answer at a path, and remembers the digest of its file.
 * @template {"keys" | "key" | "groups" | "group" | "provider"} P
 * @param {P} path
 * @param {Record<string, string>} [query]
 * @returns {Promise<Api.Get[P]>} */
export async function look(path, query) {
  const found = await get(path, query);
  showing(found.digest);
  return found;
}
