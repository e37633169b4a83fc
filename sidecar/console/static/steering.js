// Pausing and resuming: calls are parked and do not fail.

import { ask } from "./api.js";
import { button, sure, toast } from "./dialogs.js";
import { h } from "./dom.js";
import { ago, counted } from "./format.js";

/** Holds it ("key", "group", "provider" and a name; "all" and ""), and says so, with the way back. */
export async function pause(kind, name) {
  const done = await ask("POST", `pause/${kind}/${encodeURIComponent(name)}`, {});
  const running = done.running ? `; ${counted(done.running, "running call")} end as usual` : "";
  toast(`Paused: ${done.scope}${running}${done.kept ? "" : ". This could not be written, and ends with the process"}`, ["Resume", () => resume(kind, name)]);
  return done;
}

/** Lets it go on, and says so. */
export async function resume(kind, name) {
  const done = await ask("POST", `resume/${kind}/${encodeURIComponent(name)}`, {});
  const still = done.still.map((each) => each.scope).join(", ");
  toast(`${done.scope} goes on${still ? `, but for what is paused still: ${still}` : ""}`);
  return done;
}

/** A button of a key's, a group's or a provider's page; `again` draws the page anew. */
export function pauser(kind, each, again) {
  const own = each.paused.some((one) => one.kind === kind);
  const deed = async () => {
    try {
      await (own ? resume : pause)(kind, each.name);
      await again();
    } catch (error) {
      toast(error.message);
    }
  };
  return button(own ? "Resume" : "Pause", deed, own ? "primary" : "", { id: "pause", title: own ? "Its calls go on" : "Its calls wait and do not fail" });
}

/** Says that calls wait, in a table's cell or beside a heading; null when they do not. */
export function pausedMark(each) {
  if (!each.paused.length) return null;
  const words = each.paused.map((one) => `${one.scope} is paused since ${ago(one.since)}`).join(", ");
  return h("span", { class: "status warn", title: words }, "paused");
}

/** Asks whether everything shall wait. */
export function pauseAll() {
  return sure("Pause everything?", h("p", {}, "New calls wait in line until you resume; those that run are not touched. Nobody gets an error. A key, a group or a provider is paused on its own page."),
    "Pause", () => pause("all", ""));
}
