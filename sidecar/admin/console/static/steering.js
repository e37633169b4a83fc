// Pausing and resuming: calls are parked and do not fail.

import { ask, get } from "./api.js";
import { button, dialog, toast, trying } from "./dialogs.js";
import { fill, h, quiet, searchBox, under } from "./dom.js";
import { ago, counted } from "./format.js";

const ALL = "everything";
const MOST = 50; // names that are shown at once

/** Holds it ("key", "group", "provider" and a name; "all" and ""), and says so, with the way back. */
export async function pause(kind, name) {
  const done = await ask("POST", `pause/${kind}/${encodeURIComponent(name)}`, {});
  const running = done.running ? `; ${counted(done.running, "running call")} end as usual` : "";
  toast(
    `Paused: ${done.scope}${running}${done.kept ? "" : ". This could not be written, and ends with the process"}`,
    ["Resume", () => resume(kind, name)],
  );
  return done;
}

/** Resumes it, and shows that. */
export async function resume(kind, name) {
  const done = await ask("POST", `resume/${kind}/${encodeURIComponent(name)}`, {});
  const still = done.still.map((each) => each.scope).join(", ");
  toast(`Resumed: ${done.scope}${still ? `; still paused: ${still}` : ""}`);
  return done;
}

/** Does it, and says so where it cannot be done. */
export function steered(deed) {
  return deed().catch((error) => toast(error.message));
}

/** A button of a key's, a group's or a provider's page; `again` draws the page anew. */
export function pauser(kind, each, again) {
  const own = each.paused.some((one) => one.kind === kind);
  const deed = () =>
    steered(async () => {
      await (own ? resume : pause)(kind, each.name);
      return again();
    });
  return button(own ? "Resume" : "Pause", deed, own ? "primary" : "", {
    id: "pause",
    title: own ? "Its calls are admitted again" : "Its calls wait and do not fail",
  });
}

/** Says that calls wait, in a table's cell or beside a heading; null when they do not. */
export function pausedMark(each) {
  if (!each.paused.length) return null;
  const words = each.paused.map((one) => `${one.scope} was paused ${when(one)}`).join(", ");
  return h("span", { class: "status warn", title: words }, "paused");
}

/** Asks what to pause or resume; what is paused comes first. */
export async function choose() {
  const { names, holds } = await get("pause");
  const held = (kind, name) => holds.find((each) => each.kind === kind && each.name === name);
  const all = [
    ["all", ""],
    ...Object.entries(names).flatMap(([kind, each]) => each.map((name) => [kind, name])),
  ].sort((a, b) => Number(Boolean(held(...b))) - Number(Boolean(held(...a))));
  return dialog("Pause or resume", (close) => {
    const failed = h("div");
    const said = h("p", { class: "help", role: "status" });
    const rows = h("ul", { class: "versions" });
    const search = searchBox("Name of a key, a group or a provider", draw, { id: null });

    function draw() {
      const words = search.value.trim().toLowerCase();
      const found = all.filter(([, name]) => (name || ALL).toLowerCase().includes(words));
      said.textContent =
        found.length > MOST
          ? `${MOST} of ${found.length}; type more of the name.`
          : found.length
            ? ""
            : "Nothing of that name.";
      fill(rows, found.slice(0, MOST).map(row));
    }

    function row([kind, name]) {
      const hold = held(kind, name);
      const label = hold ? "Resume" : "Pause";
      const deed = () =>
        trying(failed, async () => {
          await (hold ? resume : pause)(kind, name);
          close();
        });
      return h(
        "li",
        {},
        h(
          "div",
          {},
          h("strong", {}, name || ALL),
          name ? quiet(` ${kind}`) : null,
          hold ? under(`paused ${when(hold)}`) : null,
        ),
        button(label, deed, "small", { "aria-label": `${label} ${name ? `${kind} "${name}"` : ALL}` }),
      );
    }

    draw();
    return [
      h("p", {}, "New calls wait until you resume; those that run are not touched. No call fails."),
      search,
      failed,
      said,
      rows,
    ];
  });
}

/** Since when, and from where. */
export function when(hold) {
  return `${ago(hold.since)}${hold.by ? ` by ${hold.by}` : ""}`;
}
