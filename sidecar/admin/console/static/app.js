// The frame: signing in, going from page to page, and telling the page what happens.

import { ask, whenOver } from "./api.js";
import { button, trouble } from "./dialogs.js";
import { fill, h } from "./dom.js";
import { counted } from "./format.js";
import { listen } from "./live.js";
import { find, PAGES } from "./pages.js";
import { begin, exchange, forget, token } from "./session.js";

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const standing = document.getElementById("standing");
const banner = document.getElementById("banner");
const TICK = 5000; // milliseconds between two looks at what no event tells
const STATES = { live: "Up to date", lost: "Reconnecting …", paused: "Paused" };

let shown = null; // the page as the list has it
let page = {}; // what the page that is shown wants to hear
let turn = 0; // counts pages, so that a slow one does not overtake a later one
let since = null;
let away = false; // whether the stream was interrupted
let paused = null; // what was paused, as of the last event
let last = null; // event about the file and what is paused
let live = false; // whether the stream tells of the calls of the moment
let stop = () => {};

async function start() {
  const why = await begin();
  if (why) return signIn(why === "none" ? "" : why);
  since = paused = last = null;
  drawRail();
  hearAll(false);
  if (!find(location.hash)) location.replace("#/keys");
  await go();
}

function hearAll(wanted) {
  stop();
  live = wanted;
  stop = listen(hear, stand, live);
}

async function go() {
  if (!token()) return;
  const found = find(location.hash);
  turn += 1;
  const mine = turn;
  page.leave?.();
  page = {};
  shown = found?.page;
  drawRail(shown);
  if (live !== Boolean(found?.page.live)) hearAll(!live);
  if (last) drawBanner(last);
  if (!found) return nowhere();
  try {
    const module = await import(`./pages/${found.page.module}.js`);
    const content = h("div", { class: "content" });
    const next = (await module.show(content, found.names)) ?? {};
    if (mine !== turn) return next.leave?.();
    page = next;
    fill(main, content);
  } catch (error) {
    if (mine !== turn || !token()) return;
    fill(
      main,
      h("h1", {}, error.status === 404 ? "It is not there" : "This page cannot be shown"),
      trouble(error),
    );
  }
  arrive();
}

/** Say where one is: to the eye, and to who listens. */
function arrive() {
  const title = main.querySelector("h1");
  document.title = title ? `${title.textContent} · Sidecar` : "Sidecar";
  if (title && !main.contains(document.activeElement)) {
    title.setAttribute("tabindex", "-1");
    title.focus({ preventScroll: true });
  }
  scrollTo(0, 0);
}

function nowhere() {
  fill(main, h("h1", {}, "There is no such page"), h("p", {}, h("a", { href: "#/keys" }, "To the keys")));
  arrive();
}

function drawRail(current) {
  const path = current?.under ?? current?.path;
  nav.hidden = standing.hidden = false;
  fill(
    nav,
    h(
      "ul",
      {},
      PAGES.filter((each) => each.label).map((each) =>
        h(
          "li",
          {},
          h("a", { href: `#/${each.path}`, "aria-current": each.path === path ? "page" : null }, each.label),
        ),
      ),
    ),
  );
  nav.querySelector("[aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
}

function stand(state) {
  if (state === "live" && away) quietly(page.config?.()); // what happened meanwhile was not heard
  away = state !== "live";
  fill(
    standing,
    h("span", { class: `dot ${state}` }),
    h("span", { id: "state" }, STATES[state]),
    button("Sign out", signOut, "plain small"),
  );
}

function hear(event) {
  if (event.event === "keys") quietly(page.keys?.(event.keys));
  if (event.event === "live") page.live?.(event);
  if (event.event !== "config") return;
  last = event;
  drawBanner(last);
  const changed = since !== null && since !== event.since;
  since = event.since;
  const steered = paused !== null && paused !== event.paused.join("\n");
  paused = event.paused.join("\n");
  if (changed) quietly(page.config?.());
  else if (steered) quietly(page.steered?.());
}

/** A page that cannot be brought up to date stays as it is; what is wrong is said elsewhere. */
function quietly(work) {
  const mine = turn;
  Promise.resolve(work).catch((error) => {
    if (error.status === 404 && mine === turn)
      fill(
        main,
        h("h1", {}, `This ${shown.path.split("s/")[0]} is gone`),
        h("p", {}, "It was deleted or renamed."),
      );
  });
}

function drawBanner({ refused, paused }) {
  const held = live ? [] : paused; // that page says it itself, with a button
  fill(
    banner,
    refused
      ? h(
          "div",
          { class: "banner", role: "alert" },
          h("strong", {}, "The last edit of the file was refused. "),
          `It has ${counted(refused, "mistake")}; the version before it stays in force. `,
          h("a", { href: "#/config" }, "See where"),
        )
      : null,
    held.length
      ? h(
          "div",
          { class: "banner held", role: "status" },
          h("strong", {}, "Paused: "),
          `${held.slice(0, 3).join(", ")}${held.length > 3 ? ` and ${held.length - 3} more` : ""}. Calls wait there and do not fail. `,
          h("a", { href: "#/live" }, "See them"),
        )
      : null,
  );
}

async function signOut() {
  await ask("DELETE", "session").catch(() => {});
  forget();
  signIn("You are signed out.");
}

function signIn(why) {
  stop();
  turn += 1;
  page.leave?.();
  page = {};
  nav.hidden = standing.hidden = true;
  for (const each of document.querySelectorAll("dialog")) each.close();
  fill(banner);
  const link = h("input", {
    id: "link",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    class: "mono",
  });
  const failed = h("div");
  fill(
    main,
    h(
      "div",
      { class: "door" },
      h("h1", {}, "Sidecar"),
      why ? h("p", { class: "why", role: "alert" }, why) : null,
      h("p", {}, "This page opens with a one-time link. Ask for one in a terminal:"),
      h("pre", { class: "command" }, "sidecar open"),
      h(
        "form",
        { onsubmit: enter, novalidate: true },
        h("label", { for: "link" }, "Or paste the link here"),
        h("div", { class: "row" }, link, h("button", { type: "submit", class: "primary" }, "Open")),
        failed,
      ),
    ),
  );
  arrive();
  async function enter(event) {
    event.preventDefault();
    const trouble_ = await exchange(link.value);
    if (trouble_) return fill(failed, trouble({ message: trouble_ }));
    start();
  }
}

setInterval(() => document.hidden || quietly(page.tick?.()), TICK);
whenOver((why) => signIn(why));
window.addEventListener("hashchange", () => (location.hash.startsWith("#code=") ? start() : go()));
document.addEventListener("keydown", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  const typing = target.closest?.("input, textarea, select, dialog");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    const search = /** @type {HTMLElement} */ (main.querySelector("input[type=search]"));
    if (!search) return;
    event.preventDefault();
    search.focus();
  }
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
start();
