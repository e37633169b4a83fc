// Why: the trace of one call, from its caller to its cost.

import { get } from "./api.js";
import { dialog, trouble } from "./dialogs.js";
import { h } from "./dom.js";
import { moment } from "./format.js";

/** Shows it. */
export async function why(id) {
  let shown;
  try {
    const { began, lines } = await get("call", { id });
    shown = h(
      "dl",
      { class: "story" },
      [["call", `${id}, began ${moment(began)}`], ...lines].map(([label, text]) => [
        h("dt", {}, label),
        h("dd", {}, text),
      ]),
    );
  } catch (error) {
    shown = trouble(error);
  }
  await dialog("Why", () => [shown], { wide: true });
}

/** A word with a colour for how a call ended. */
export function ending(call) {
  const kind = { ok: "good", cancelled: "" }[call.outcome] ?? "bad";
  return h("span", { class: `status ${kind}` }, call.outcome.replaceAll("_", " "));
}
