// One provider: its address, its credential's place, its limits, and whether it answers.

import { facts, h, title } from "../dom.js";
import { headroom, limits, list, text } from "../forms.js";
import { quotas, uses } from "../meters.js";
import { link } from "../pages.js";
import { pauser } from "../steering.js";
import { one } from "./one.js";
import { available, credentials, tester } from "./providers.js";

export async function show(main, [name]) {
  const page = await one(main, "provider", name, { head, fields, tidy });
  return { ...page, keys: page.now };
}

function head({ provider: each }, page) {
  return [
    title(each.name, h("div", { class: "actions" }, pauser("provider", each, page.now), tester(each))),
    h(
      "section",
      { class: "card" },
      facts([
        ["State", available(each)],
        ["Vendor", `${each.vendor_title}; serves ${each.serves.join(", ")}`],
        ["Address", h("span", { class: "mono" }, each.base_url || "none: it runs within this process")],
        ["Credential", credentials(each)],
        [
          "Used by",
          each.groups.length
            ? each.groups.map((group, index) => [index ? ", " : null, link("groups", group)])
            : "no group",
        ],
      ]),
      bars("What the vendor says is left", quotas(each.quotas)),
      bars("Limits, used now", uses(each.uses)),
    ),
  ];
}

function bars(title, shown) {
  return shown ? [h("h3", {}, title), shown] : null;
}

function fields({ provider, written: own }) {
  const plain = typeof (own.credential ?? "") === "string" || Array.isArray(own.credential);
  return {
    base_url: text("Address", own.base_url, { placeholder: provider.base_url, mono: true }),
    ...(plain
      ? {
          credential: list("Credential", own.credential, {
            rows: 1,
            placeholder: provider.credentials.map((one) => one.reference).join("\n"),
            help: "env:NAME, file:PATH, command:…, keyring:SERVICE/USER or none; several share the calls. caller stands alone: the agent’s own vendor login. Never the secret itself.",
          }),
        }
      : {}),
    limits: limits("Limits", own.limits, { help: "For all keys together." }),
    budget: list("Budget", own.budget, { placeholder: "$25/day", rows: 1 }),
    headroom: headroom(own.headroom),
  };
}

/** One credential is no list. */
function tidy(changed) {
  return changed.credential?.length === 1 ? { ...changed, credential: changed.credential[0] } : changed;
}
