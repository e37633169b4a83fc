// Makes DOM nodes. Text is only ever a text node, so a name that is markup stays a name.

/**
 * An element. `props` are attributes; `on…` are listeners; `true` is an empty attribute; false, null
 * and undefined leave one out. Children are nodes, texts, numbers or lists of them; null, false and
 * undefined are none.
 */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...nodes(children));
  return node;
}

/** Puts other children into a node. */
export function fill(node, ...children) {
  node.replaceChildren(...nodes(children));
  return node;
}

/** Does something that replaces nodes, and gives the focus back to the element of the same id. */
export function keepingFocus(work) {
  const id = document.activeElement?.id;
  const at = document.activeElement?.selectionStart ?? null;
  work();
  if (!id || document.activeElement?.id === id) return;
  const again = document.getElementById(id);
  if (!again) return;
  again.focus({ preventScroll: true });
  if (at !== null && again.setSelectionRange && again.type !== "number") again.setSelectionRange(at, at);
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
