// The road to the service: relative paths, the token of this tab, and errors as sentences.

import { by } from "./dom.js";

const KEY = "chainfold-token";
const TRIES = 5; // of what was too much at once

/** A failed request: its status (0: no answer at all), a sentence, a hint, whether to try again. */
export class Trouble extends Error {
  constructor(status, said) {
    super(said.error);
    this.status = status;
    this.hint = said.hint ?? "";
    this.retry = said.retry ?? false;
  }
}

export const token = () => sessionStorage.getItem(KEY);

export function forget() {
  sessionStorage.removeItem(KEY);
}

const later = (seconds, signal) =>
  new Promise((resolve, reject) => {
    setTimeout(resolve, 1000 * Math.min(10, seconds) * (0.5 + Math.random()));
    signal?.addEventListener("abort", () => reject(signal.reason));
  });

const LITERALS = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g; // texts and numbers of JSON

/** JSON in which an integer that a number cannot hold stays the text of its digits, in any browser. */
export const parsed = (text) =>
  JSON.parse(
    text.replace(LITERALS, (found) =>
      /^-?\d{16,}$/.test(found) && !Number.isSafeInteger(Number(found)) ? `"${found}"` : found,
    ),
  );

/** The answer to a request as it came, asked again with a token where one is needed. */
export async function send(path, options = {}) {
  for (let tries = 0; ;) {
    const used = token();
    const headers = { ...options.headers, ...(used ? { Authorization: `Bearer ${used}` } : {}) };
    let answer;
    try {
      answer = await fetch(path, { cache: "no-store", ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Trouble(0, {
        error: "The service does not answer.",
        hint: "Is it running, and is the network there?",
        retry: true,
      });
    }
    if (answer.status === 401) {
      if (token() === used) await asked(used !== null);
      continue;
    }
    if (answer.status === 429 && tries < TRIES) {
      tries += 1;
      await later(Number(answer.headers.get("Retry-After") ?? 1), options.signal);
      continue;
    }
    if (answer.ok) return answer;
    const said = await answer.json().catch(() => ({ error: `The service answered ${answer.status}.` }));
    throw new Trouble(answer.status, said);
  }
}

/** What a path answers, from JSON. `query` is a plain object, null and empty values left out, but for a key. */
export async function ask(path, query = {}, options = {}) {
  const given = Object.entries(query).filter(
    ([name, value]) => value !== null && value !== undefined && (value !== "" || name === "key"),
  );
  const answer = await send(given.length ? `${path}?${new URLSearchParams(given)}` : path, options);
  return parsed(await answer.text());
}

/** The same, null where the service has no such path. */
export async function askIfThere(path, query) {
  try {
    return await ask(path, query);
  } catch (error) {
    if (error instanceof Trouble && error.status === 404) return null;
    throw error;
  }
}

export const put = (path, body) =>
  ask(
    path,
    {},
    { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) },
  );

let asking = null;

/** Asks once for a token, for all callers that need it. */
function asked(refused) {
  asking ??= new Promise((resolve) => {
    const dialog = by("ask");
    const field = by("ask-token");
    by("ask-said").textContent = refused ? "The service does not take this token." : "";
    dialog.oncancel = (event) => event.preventDefault();
    by("ask-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, field.value.trim());
      field.value = "";
      dialog.close();
      asking = null;
      resolve();
    };
    if (!dialog.open) dialog.showModal();
    field.focus();
  });
  return asking;
}
