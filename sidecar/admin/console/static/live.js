// Listens to what happens: a stream of JSON lines, opened again whenever it breaks. A hidden tab
// lets go of it, since a browser keeps only six connections to one host.

import { over } from "./api.js";
import { token } from "./session.js";

const FIRST = 500; // milliseconds until the first new try
const LONGEST = 8000;
const SILENT = 40000; // no line for so long: the connection is dead

/** Calls `hear(event)` for every event and `stand(state)` for "live", "lost" and "paused"; with `live`,
 * also for the calls of the moment, each second. Answers how to stop. */
export function listen(hear, stand, live = false) {
  let running = null;
  let wait = FIRST;
  let again = null;
  let stopped = false;

  async function run() {
    running = new AbortController();
    const mine = running;
    let timer = setTimeout(() => mine.abort(), SILENT);
    try {
      const answer = await fetch(`/console/api/events${live ? "?live" : ""}`, {
        headers: { Authorization: `Bearer ${token()}` },
        signal: mine.signal,
      });
      if (answer.status === 401) return over("The session is over.");
      if (!answer.ok) throw new Error();
      stand("live");
      wait = FIRST;
      for await (const event of lines(answer.body)) {
        clearTimeout(timer);
        timer = setTimeout(() => mine.abort(), SILENT);
        if (event.event === "over") return over("The session is over.");
        hear(event);
      }
    } catch {
      // a lost connection is no error: it is opened again
    } finally {
      clearTimeout(timer);
      if (running === mine) running = null;
    }
    if (stopped || document.hidden) return;
    stand("lost");
    again = setTimeout(start, wait);
    wait = Math.min(wait * 2, LONGEST);
  }

  function start() {
    clearTimeout(again);
    if (!running && !stopped) run();
  }

  function pause() {
    clearTimeout(again);
    running?.abort();
    running = null;
  }

  function seen() {
    if (document.hidden) {
      pause();
      stand("paused");
    } else {
      start();
    }
  }

  document.addEventListener("visibilitychange", seen);
  window.addEventListener("online", start);
  start();
  return () => {
    stopped = true;
    pause();
    document.removeEventListener("visibilitychange", seen);
    window.removeEventListener("online", start);
  };
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (true) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const whole = rest.split("\n");
    rest = whole.pop();
    for (const line of whole) if (line) yield JSON.parse(line);
  }
}
