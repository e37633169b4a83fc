// Every page: where it is, what the rail calls it, and the module that shows it. A new page is one
// more line. A page's `show(main, names)` fills `main` and answers { config, keys, tick, leave }, each
// of which may be missing: what to do when the file changed, when keys were used, every five seconds,
// and at the end.

export const PAGES = [
  { path: "keys", label: "API keys", module: () => import("./pages/keys.js") },
  { path: "keys/{}", under: "keys", module: () => import("./pages/key.js") },
  { path: "models", label: "Models", module: () => import("./pages/models.js") },
  { path: "groups", label: "Groups", module: () => import("./pages/groups.js") },
  { path: "groups/{}", under: "groups", module: () => import("./pages/group.js") },
  { path: "providers", label: "Providers", module: () => import("./pages/providers.js") },
  { path: "providers/{}", under: "providers", module: () => import("./pages/provider.js") },
  { path: "config", label: "Configuration", module: () => import("./pages/config.js") },
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
