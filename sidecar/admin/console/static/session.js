// The session: a one-time code from the link becomes a token, kept for this tab and sent in a header.

const PLACE = "sidecar-token";
const MOMENT = 400; // milliseconds to wait for another tab's answer
const channel = "BroadcastChannel" in window ? new BroadcastChannel("sidecar-session") : null;

/** The token of this tab, or null. */
export function token() {
  return sessionStorage.getItem(PLACE);
}

/** Forgets the token. */
export function forget() {
  sessionStorage.removeItem(PLACE);
}

/** Signs in by the code in the address, by what this tab has, or by asking other tabs. Answers ""
 * when that worked, else why not. */
export async function begin() {
  const code = codeIn(location.href);
  if (code) {
    history.replaceState(null, "", location.pathname);
    return exchange(code);
  }
  if (token()) return "";
  const borrowed = await askTabs();
  if (!borrowed) return "none";
  sessionStorage.setItem(PLACE, borrowed);
  return "";
}

/** Exchanges a code, or a link with one. Answers "" or why not. */
export async function exchange(text) {
  const code = codeIn(text) ?? text.trim();
  const answer = await fetch("/console/api/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ code }),
  }).catch(() => null);
  if (!answer) return "Sidecar does not answer. Is it running?";
  const body = await answer.json();
  if (!answer.ok) return body.error.message;
  sessionStorage.setItem(PLACE, body.token);
  return "";
}

function codeIn(text) {
  return /#code=([\w-]+)/.exec(text)?.[1] ?? null;
}

/** Only pages of our own origin hear this channel. */
function askTabs() {
  if (!channel) return Promise.resolve(null);
  return new Promise((resolve) => {
    const heard = (event) => {
      if (event.data?.token) done(event.data.token);
    };
    const done = (found) => {
      clearTimeout(timer);
      channel.removeEventListener("message", heard);
      resolve(found);
    };
    const timer = setTimeout(done, MOMENT, null);
    channel.addEventListener("message", heard);
    channel.postMessage({ wanted: true });
  });
}

channel?.addEventListener("message", (event) => {
  if (event.data?.wanted && token()) channel.postMessage({ token: token() });
});
