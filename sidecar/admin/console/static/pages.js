// Every page: where it is, what the rail calls it, and the module that shows it. A new page is one
// more line. A page's `show(main, names)` fills `main` and answers { config, keys, steered, live, tick,
// leave }, each of which may be missing: what to do when the file changed, when keys were used, when
// something was paused or resumed, each second (of a page that is `live`), every five seconds, and at
// the end.

import { h } from "./dom.js";

export const PAGES = [
  { path: "keys", label: "API keys", module: "keys" },
  { path: "keys/{}", under: "keys", module: "key" },
  { path: "live", label: "Live", live: true, module: "live" },
  { path: "usage", label: "Usage", module: "usage" },
  { path: "models", label: "Models", module: "models" },
  { path: "groups", label: "Groups", module: "groups" },
  { path: "groups/{}", under: "groups", module: "group" },
  { path: "providers", label: "Providers", module: "providers" },
  { path: "providers/{}", under: "providers", module: "provider" },
  { path: "config", label: "Configuration", module: "config" },
];

/** The page of an address's fragment, and the names in it. */
export function find(fragment) {
  const [path] = fragment.replace(/^#\/?/, "").split("?");
  const words = path.split("/").filter(Boolean);
  for (const page of PAGES) {
    const pattern = page.path.split("/");
    if (pattern.length !== words.length) continue;
    if (pattern.every((each, index) => each === "{}" || each === words[index])) {
      return { page, names: words.filter((_, index) => pattern[index] === "{}").map(decoded) };
    }
  }
  return null;
}

/** What is not well encoded was typed by hand, and stands for itself. */
function decoded(word) {
  try {
    return decodeURIComponent(word);
  } catch {
    return word;
  }
}

/** The address of something by its name. */
export function address(section, name) {
  return `#/${section}/${encodeURIComponent(name)}`;
}

/** A link to it. */
export function link(section, name, props) {
  return h("a", { href: address(section, name), ...props }, name);
}
