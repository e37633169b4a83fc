// Asks the process, with the session's token; tells who is interested when the session is over.

import { forget, token } from "./session.js";

/** A request that the process declined: `status`, a `code` for programs, and details. */
export class Declined extends Error {
  constructor(status, error) {
    super(error.message ?? `the answer was ${status}`);
    this.status = status;
    this.code = error.code ?? "";
    this.details = error;
  }
}

/** @type {(why?: string) => void} */
let onOver = () => {};

/** Has `tell` called when a request finds the session over. */
export function whenOver(tell) {
  onOver = tell;
}

/** The session is over. */
export function over(why) {
  forget();
  onOver(why);
}

/** Returns a JSON answer. Raises `Declined`.
 * @returns {Promise<any>} */
export async function ask(method, path, body, headers = {}) {
  const sent = { Authorization: `Bearer ${token()}`, ...headers };
  if (method !== "GET") sent["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(`/console/api/${path}`, {
      method,
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Declined(0, { code: "gone", message: "Sidecar does not answer. Is it running?" });
  }
  const found = await answer.json().catch(() => ({}));
  if (answer.ok) return found;
  const error = new Declined(answer.status, found.error ?? {});
  if (answer.status === 401) over(error.message);
  throw error;
}

/** Returns the answer at a path; `query` becomes its query. Raises `Declined`.
 * @template {keyof Api.Get} P
 * @param {P} path
 * @param {Record<string, string>} [query]
 * @returns {Promise<Api.Get[P]>} */
export function get(path, query) {
  const words = query ? `?${new URLSearchParams(query)}` : "";
  return ask("GET", `${path}${words}`);
}

/** Previews an edit, or makes it, on the file of this digest. Raises `Declined`. */
export function send(edit, digest, more = {}) {
  return ask("POST", "changes", { edit, ...more }, { "If-Match": digest });
}
