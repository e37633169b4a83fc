// One provider: its address, its credential's place, its limits, and whether it answers.

import { get } from "../api.js";
import { facts, fill, h, keepingFocus, title } from "../dom.js";
import { kept, look, review, shownDigest } from "../editing.js";
import { form, limits, list, text } from "../forms.js";
import { quotas, uses } from "../meters.js";
import { link } from "../pages.js";
import { pauser } from "../steering.js";
import { available, credentials, tester } from "./providers.js";

export async function show(main, [name]) {
  let found = await look("provider", { name });
  let shown = null;
  const head = h("div");
  const settings = h("section", { class: "card", "aria-labelledby": "settings" });

  function draw({ keep = false } = {}) {
    drawHead();
    if (keep && shown?.touched()) kept();
    if (!keep || !shown?.dirty()) drawSettings();
  }

  function drawHead() {
    const each = found.provider;
    fill(head,
      h("p", { class: "crumbs" }, h("a", { href: "#/providers" }, "Providers")),
      title(each.name, h("div", { class: "actions" }, pauser("provider", each, now), tester(each))),
      h("section", { class: "card" }, facts(
        [["State", available(each)], ["Vendor", `${each.vendor_title}; serves ${each.serves.join(", ")}`],
         ["Address", h("span", { class: "mono" }, each.base_url || "inside of this process")], ["Credential", credentials(each)],
         ["Used by", each.groups.length ? each.groups.map((group, index) => [index ? ", " : null, link("groups", group)]) : "no group"]]),
        bars("What the vendor says is left", quotas(each.quotas)), bars("Limits, used now", uses(each.uses))));
  }

  function bars(title, shown) {
    return shown ? [h("h3", {}, title), shown] : null;
  }

  function drawSettings() {
    const own = found.written;
    const on = shownDigest();
    const plain = typeof (own.credential ?? "") === "string" || Array.isArray(own.credential);
    shown = form({
      base_url: text("Address", own.base_url, { placeholder: found.provider.base_url, mono: true }),
      ...(plain ? { credential: list("Credential", own.credential, { rows: 1, placeholder: found.provider.credentials.map((one) => one.reference).join("\n"), help: "env:NAME, file:PATH, command:…, keyring:SERVICE/USER or none; several share the calls. Never the secret itself." }) } : {}),
      limits: limits("Limits", own.limits, { help: "For everybody together." }),
      budget: list("Budget", own.budget, { placeholder: "$25/day", rows: 1 }),
    }, {
      label: "Review changes",
      save: async (changed) => {
        if (changed.credential?.length === 1) [changed.credential] = changed.credential;
        if (await review({ do: "edit_provider", name, fields: changed }, { on })) (found = await look("provider", { name })), draw();
      },
    });
    fill(settings, h("h2", { id: "settings" }, "Settings"), shown.node);
  }

  async function now() {
    found.provider = (await get("provider", { name })).provider;
    keepingFocus(drawHead);
  }

  fill(main, head, settings);
  draw();
  return {
    keys: now,
    steered: now,
    tick: now,
    config: async () => {
      found = await look("provider", { name });
      draw({ keep: true });
    },
  };
}
