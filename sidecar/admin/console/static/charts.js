// Small drawings; colours are classes.

import { h, svg } from "./dom.js";
import { date } from "./format.js";

const TALL = 100; // units from the bottom of a drawing to its top
const MOST_LABELS = 8;

/** A bar a day. `values` are numbers, null for unknown; `words(value)` says one. */
export function bars(days, values, words, title) {
  const most = Math.max(...values.filter((each) => each !== null), 0);
  const step = Math.ceil(days.length / MOST_LABELS);
  const highest = most > 0 ? `the highest day is ${words(most)}` : "nothing";
  return h(
    "figure",
    { class: "chart" },
    h(
      "figcaption",
      {},
      h("span", {}, title),
      h("span", { class: "figure quiet" }, most > 0 ? `highest ${words(most)}` : ""),
    ),
    svg(
      "svg",
      {
        class: "bars",
        viewBox: `0 0 ${days.length} ${TALL}`,
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": `${title}: ${days.length} days, ${highest}`,
      },
      days.map((day, index) => {
        const value = values[index];
        const tall = most > 0 && value ? Math.max(1.5, (value / most) * TALL) : 0;
        return svg(
          "g",
          {},
          svg("title", {}, `${date(day)}: ${words(value)}`),
          svg("rect", { class: "hit", x: index, y: 0, width: 1, height: TALL }),
          svg("rect", {
            class: value === null ? "unknown" : "bar",
            x: index + 0.12,
            y: value === null ? 0 : TALL - tall,
            width: 0.76,
            height: value === null ? TALL : tall,
          }),
        );
      }),
    ),
    h(
      "div",
      { class: step > 1 ? "days many" : "days", "aria-hidden": "true" },
      days.map((day, index) => h("span", {}, (days.length - 1 - index) % step === 0 ? date(day) : "")),
    ),
  );
}

/** A line of days, the last one marked; unknown days are gaps. `words` say it to who cannot see it. */
export function spark(values, words) {
  const most = Math.max(...values.map((each) => each ?? 0), 1);
  const width = values.length * 10;
  return svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${width} 24`, width, height: 24, role: "img", "aria-label": words },
    svg("title", {}, words),
    values.map((value, index) => {
      const tall = value ? Math.max(2, (value / most) * 22) : 1;
      const kind =
        value === null ? "unknown" : index === values.length - 1 ? "bar now" : value ? "bar" : "bar none";
      return svg("rect", {
        class: kind,
        x: index * 10 + 1,
        y: 24 - (value === null ? 8 : tall),
        width: 8,
        height: value === null ? 8 : tall,
        rx: 1,
      });
    }),
  );
}

/** A part of a whole as a bar; its words stand beside it. */
export function share(part) {
  return svg(
    "svg",
    { class: "share", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "ground", width: 100, height: 6 }),
    svg("rect", { class: "bar", width: Math.min(100, part * 100), height: 6 }),
  );
}
