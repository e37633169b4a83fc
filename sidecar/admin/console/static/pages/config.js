// The configuration: the file as it is, what is wrong with it and where, what it was before, and the
// way back.

import { get } from "../api.js";
import { actions, button, dialog, trouble } from "../dialogs.js";
import { fill, h, lead, points, quiet, title } from "../dom.js";
import { diff, review, showing } from "../editing.js";
import { ago, counted, moment } from "../format.js";

const MOST_LINES = 1500;

export async function show(main) {
  let found = await get("config");
  const head = h("div");
  const problems = h("div");
  const history = h("section", { class: "card", "aria-labelledby": "history" });
  const file = h("section", { class: "card", "aria-labelledby": "file" });
  let whole = false;

  function draw() {
    showing(found.digest);
    const refused = found.problems.length > 0;
    fill(
      head,
      title(
        "Configuration",
        h(
          "span",
          { class: `status ${refused ? "bad" : "good"}` },
          refused ? "last edit refused" : "in force",
        ),
      ),
      lead(
        h("span", { class: "mono" }, found.file),
        refused
          ? `: the version of ${moment(found.accepted_at)} stays in force.`
          : `, in force since ${moment(found.accepted_at)}.`,
      ),
    );
    fill(
      problems,
      refused
        ? h(
            "section",
            { class: "card wrong", "aria-labelledby": "problems" },
            h("h2", { id: "problems" }, counted(found.problems.length, "mistake")),
            h(
              "ol",
              { class: "problems" },
              found.problems.map((each) =>
                h(
                  "li",
                  {},
                  each.line
                    ? h(
                        "a",
                        { href: "#/config", onclick: (event) => jump(event, each.line) },
                        `line ${each.line}`,
                      )
                    : null,
                  " ",
                  each.text,
                ),
              ),
            ),
            found.stays.length ? [h("p", {}, "Until it is mended:"), points(found.stays)] : null,
            found.versions.length
              ? h(
                  "div",
                  { class: "actions" },
                  button("Go back to the last good version", () => goBack(found.versions[0]), "primary", {
                    id: "last-good",
                  }),
                )
              : null,
          )
        : null,
      found.warnings.length && !refused
        ? h(
            "section",
            { class: "card" },
            h("h2", {}, "Worth a look"),
            points(found.warnings.map((each) => [each.line ? `line ${each.line}: ` : "", each.text])),
          )
        : null,
    );
    drawHistory();
    drawFile();
  }

  /** What was in force, and what was refused since this process began, newest first. */
  function drawHistory() {
    const looks = [
      ...found.versions.map((each, index) => ({ ...each, index })),
      ...found.history.filter((each) => !each.accepted),
    ].sort((a, b) => b.at - a.at);
    const now = found.versions.findIndex((each) => each.digest === found.in_force);
    fill(
      history,
      h("h2", { id: "history" }, "History"),
      h(
        "p",
        { class: "quiet" },
        "The last twenty versions that were in force are kept where only you can read them; refused edits are not.",
      ),
      h(
        "ol",
        { class: "versions" },
        looks.map((each) => ("number" in each ? version(each, now) : refusal(each))),
      ),
    );
  }

  function version(each, now) {
    const none =
      each.index === found.versions.length - 1
        ? "the oldest one that is kept"
        : "comments, order or a description";
    return h(
      "li",
      {},
      past(
        each,
        each.index === now ? h("span", { class: "tag good" }, "in force") : null,
        each.difference.length ? each.difference : [none],
      ),
      each.digest === found.digest
        ? null
        : h(
            "div",
            { class: "actions" },
            button("Compare", () => compare(each), "small", {
              id: `compare-${each.number}`,
              "aria-label": `Compare with the version of ${moment(each.at)}`,
            }),
            button("Go back", () => goBack(each), "small", {
              id: `back-${each.number}`,
              "aria-label": `Go back to the version of ${moment(each.at)}`,
            }),
          ),
    );
  }

  function refusal(each) {
    return h("li", {}, past(each, h("span", { class: "tag bad" }, "refused"), each.lines));
  }

  function past({ at }, tag, lines) {
    return h("div", {}, h("strong", {}, moment(at)), " ", quiet(ago(at)), " ", tag, points(lines, "effects"));
  }

  function drawFile() {
    const lines = found.text.split("\n");
    if (lines.at(-1) === "") lines.pop();
    const wrong = new Map();
    for (const each of found.problems) wrong.set(each.line, [...(wrong.get(each.line) ?? []), each.text]);
    const shown = whole ? lines : lines.slice(0, Math.max(MOST_LINES, ...wrong.keys()));
    fill(
      file,
      h("h2", { id: "file" }, "The file"),
      h(
        "p",
        { class: "quiet" },
        "Edit it with any editor, with ",
        h("code", {}, "sidecar edit"),
        ", or on these pages: every other byte stays as it is.",
      ),
      h(
        "div",
        { class: "code file", tabindex: "0", role: "region", "aria-label": "The file" },
        shown.map((line, index) => {
          const number = index + 1;
          const faults = wrong.get(number);
          return h(
            "div",
            { id: `line-${number}`, class: faults ? "fault" : "", tabindex: faults ? "-1" : null },
            h("span", { class: "number", "aria-hidden": "true" }, number),
            line || " ",
            faults ? faults.map((text) => h("div", { class: "says" }, text)) : null,
          );
        }),
      ),
      shown.length < lines.length ? button(`Show all ${lines.length} lines`, showAll) : null,
    );
  }

  function showAll() {
    whole = true;
    drawFile();
  }

  function jump(event, number) {
    event.preventDefault();
    const line = document.getElementById(`line-${number}`);
    line?.scrollIntoView({ block: "center" });
    line?.focus({ preventScroll: true });
  }

  async function compare(version) {
    const older = await get("version", { number: version.number });
    const leave = (close) => {
      close();
      return goBack(version);
    };
    await dialog(
      `From ${moment(version.at)} to now`,
      (close) => [
        older.diff.length ? diff(older.diff) : quiet("The same, byte for byte."),
        actions(
          button("Close", () => close()),
          button("Go back to it", () => leave(close), "primary"),
        ),
      ],
      { wide: true },
    );
  }

  async function goBack(version) {
    const edit = { do: "restore", name: String(version.number) };
    try {
      if (
        await review(edit, {
          title: `Go back to ${moment(version.at)}`,
          label: "Go back",
          said: "The file is as it was",
        })
      )
        await load();
    } catch (error) {
      await dialog("That did not work", (close) => [
        trouble(error),
        actions(button("Close", () => close(), "primary")),
      ]);
    }
  }

  async function load() {
    found = await get("config");
    draw();
  }

  fill(main, head, problems, file, history);
  draw();
  return { config: load };
}
