// Tables that can be searched and sorted, by pointer and by keyboard.

import { blend, fill, h, keepingFocus } from "./dom.js";

const MOST = 300; // rows that are drawn until all are asked for

/**
 * A table. `columns` are { head, cell(row), sort(row)?, class? }; the first column heads its
 * row. `update(rows)` shows other rows; `empty()` answers what is shown when there are none. The order is kept.
 * With `keyOf(row)`, rows are found again, and what says the same is left alone: for tables that move.
 * `partOf(row)` answers null, or an identity and words: rows of one identity stand below these words.
 */
export function table(
  caption,
  columns,
  { empty = () => null, id = "table", keyOf = null, partOf = (_) => null, most = MOST } = {},
) {
  let rows = [];
  let all = false;
  const more = h("button", { class: "plain more", hidden: true, onclick: showAll });
  let order = { head: null, down: false };
  const head = h("tr");
  const body = h("tbody");
  const none = h("div", { class: "empty", hidden: true });
  const frame = h("table", { id }, h("caption", { class: "unseen" }, caption), h("thead", {}, head), body);

  const put = keyOf ? (node, rows) => blend(node, h(node.tagName, {}, rows)) : fill;

  function drawHead() {
    put(
      head,
      columns.map((column) => {
        const active = order.head === column.head;
        const way = active ? (order.down ? "descending" : "ascending") : null;
        if (!column.sort)
          return h(
            "th",
            { scope: "col", class: column.class },
            column.head || h("span", { class: "unseen" }, column.say),
          );
        return h(
          "th",
          { scope: "col", "aria-sort": way, class: column.class },
          h(
            "button",
            { id: `${id}-sort-${column.head}`, class: "sort", onclick: () => sortBy(column.head) },
            column.head,
            h("span", { class: "way", "aria-hidden": "true" }, active ? (order.down ? "↓" : "↑") : ""),
          ),
        );
      }),
    );
  }

  function showAll() {
    all = true;
    draw();
  }

  function sortBy(head) {
    order = { head, down: order.head === head && !order.down };
    keepingFocus(draw);
  }

  function draw() {
    drawHead();
    const column = columns.find((each) => each.head === order.head);
    const shown = column
      ? [...rows].sort((a, b) => compare(column.sort(a), column.sort(b)) * (order.down ? -1 : 1))
      : rows;
    more.hidden = all || shown.length <= most;
    more.textContent = `Show all ${shown.length}`;
    let last = null;
    function part(row) {
      const found = partOf(row);
      if (!found || found[0] === last) return null;
      last = found[0];
      const span = { colspan: columns.length, scope: "rowgroup" };
      return h("tr", { class: "part", "data-key": `part-${last}` }, h("th", span, found[1]));
    }
    put(
      body,
      (all ? shown : shown.slice(0, most)).map((row) => [
        part(row),
        h(
          "tr",
          { "data-key": keyOf?.(row) },
          columns.map((each, index) =>
            h(
              index ? "td" : "th",
              {
                scope: index ? null : "row",
                class: each.class,
                "data-head": index ? each.head || null : null,
              },
              each.cell(row),
            ),
          ),
        ),
      ]),
    );
    fill(none, rows.length ? null : empty());
    none.hidden = rows.length > 0;
    frame.hidden = rows.length === 0;
  }

  return {
    node: h("div", { class: "table" }, frame, more, none),
    update(found) {
      rows = found;
      keepingFocus(draw);
    },
  };
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined || a === "") return 1;
  if (b === null || b === undefined || b === "") return -1;
  return typeof a === "string"
    ? a.localeCompare(b, undefined, { numeric: true, sensitivity: "base" })
    : a - b;
}
