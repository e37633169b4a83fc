// Makes DOM nodes. Text is only ever a text node, so a name that is markup stays a name.

/**
 * An element. `props` are attributes; `on…` are listeners; `true` is an empty attribute. Children are
 * nodes, texts, numbers or lists of them. False, null and undefined leave either out.
 * @param {Record<string, any>} props
 * @returns {any}
 */
export function h(tag, props = {}, ...children) {
  return built(document.createElement(tag), props, children);
}

/** The same for a drawing. */
export function svg(tag, props = {}, ...children) {
  return built(
    document.createElementNS(document.getElementById("drawing").namespaceURI, tag),
    props,
    children,
  );
}

function built(node, props, children) {
  if (node.nodeName === "BUTTON") node.type = "button";
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...nodes(children));
  return node;
}

/** A field to search by. */
export function searchBox(words, oninput, props = {}) {
  return h("input", {
    type: "search",
    id: "search",
    placeholder: words,
    "aria-label": words,
    autocomplete: "off",
    oninput,
    ...props,
  });
}

/** Words of less weight, in a line. */
export function quiet(...words) {
  return h("span", { class: "quiet" }, words);
}

/** Words of less weight, below others. */
export function under(...words) {
  return h("div", { class: "under" }, words);
}

/** A list of texts or nodes. */
export function points(lines, kind = "") {
  return h(
    "ul",
    { class: kind },
    lines.map((line) => h("li", {}, line)),
  );
}

/** The heading of a page, with what stands beside it. */
export function title(words, ...beside) {
  return h("div", { class: "title" }, h("h1", {}, words), beside);
}

/** What a page is for. */
export function lead(...words) {
  return h("p", { class: "lead" }, words);
}

/** Pairs of a word and what it is. */
export function facts(pairs, kind = "facts") {
  return h(
    "dl",
    { class: kind },
    pairs.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))),
  );
}

/** Puts other children into a node. */
export function fill(node, ...children) {
  node.replaceChildren(...nodes(children));
  return node;
}

/** Replaces nodes, and gives the focus back to the element of the same id. */
export function keepingFocus(work) {
  const focused = /** @type {HTMLInputElement} */ (document.activeElement);
  const id = focused?.id;
  const at = focused?.selectionStart ?? null;
  work();
  if (!id || document.activeElement?.id === id) return;
  const again = /** @type {HTMLInputElement} */ (document.getElementById(id));
  if (!again) return;
  again.focus({ preventScroll: true });
  if (at !== null && again.setSelectionRange && again.type !== "number") again.setSelectionRange(at, at);
}

/**
 * Makes a node's children those of `fresh`, and keeps every node that says the same, and the focus.
 * Elements with a `data-key` are found by it; listeners stay those of the node that is kept, so they
 * may use nothing that changes.
 */
export function blend(node, fresh) {
  const focused = /** @type {HTMLElement} */ (document.activeElement);
  const keys = new Set([...fresh.children].map((each) => each.dataset.key));
  for (const each of [...node.children]) if (each.dataset.key && !keys.has(each.dataset.key)) each.remove();
  const known = new Map([...node.children].map((each) => [each.dataset.key, each]));
  let at = node.firstChild;
  for (const next of [...fresh.childNodes]) {
    const now = next.dataset?.key ? known.get(next.dataset.key) : at;
    if (!now || !alike(now, next)) {
      node.insertBefore(next, at);
      continue;
    }
    if (now === at) at = at.nextSibling;
    else node.insertBefore(now, at);
    same(now, next);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
  if (focused !== document.activeElement && node.contains(focused)) focused.focus({ preventScroll: true });
}

function alike(one, other) {
  return one.nodeName === other.nodeName && one.id === other.id && one.dataset?.key === other.dataset?.key;
}

function same(node, fresh) {
  if (node.nodeType === Node.TEXT_NODE) {
    if (node.data !== fresh.data) node.data = fresh.data;
    return;
  }
  for (const { name } of [...node.attributes])
    if (!fresh.hasAttribute(name) && name !== "open") node.removeAttribute(name);
  for (const { name, value } of fresh.attributes)
    if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  blend(node, fresh);
}

let count = 0;

/** An id that no other element has. */
export function unique(prefix = "n") {
  count += 1;
  return `${prefix}-${count}`;
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((each) => each !== null && each !== undefined && each !== false)
    .map((each) => (each instanceof Node ? each : document.createTextNode(String(each))));
}
