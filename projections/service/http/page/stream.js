// Server-sent events by fetch, for EventSource sends no token: parsed here, resumed by the last id, with patience.

import { parsed, send, Trouble } from "./api.js";

const LONGEST = 30_000;
const SILENCE = 60_000; // heartbeats come more often: who is silent so long is gone
const NONE = 60_000; // until a service without a stream is asked for one again

/** Feeds text in pieces of any size; calls `on(event, data, id)` for each whole event. */
export function parser(on) {
  let rest = "";
  let event = "message";
  let data = [];
  let id;
  const line = (text) => {
    if (text === "") {
      if (data.length) on(event, data.join("\n"), id);
      event = "message";
      data = [];
      return;
    }
    const [, name, value] = /^([^:]*)(?:: ?)?(.*)$/s.exec(text);
    if (name === "event") event = value;
    else if (name === "data") data.push(value);
    else if (name === "id") id = value;
  };
  return (piece) => {
    const lines = (rest + piece).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    lines.forEach(line);
  };
}

/** Follows the stream for ever. `on(event, data)` gets each event; `standing(word, seconds)` how it goes:
 *  open, lost (tried again in so many seconds), or none where the service has no stream. */
export async function follow(on, standing) {
  let last = null;
  let failed = 0;
  for (;;) {
    let wait;
    try {
      await once(
        last,
        (event, data, id) => {
          failed = 0;
          last = id ?? last;
          on(event, parsed(data));
        },
        () => standing("open"),
      );
      wait = patience(failed++); // it ended politely: the service is stopping
    } catch (error) {
      if (error instanceof Trouble && error.status === 404) {
        standing("none");
        await pause(NONE);
        continue;
      }
      if (!(error instanceof Trouble) && error.name !== "AbortError" && error.name !== "TypeError")
        throw error;
      if (error.status === 400 || error.status === 422) last = null; // it knows that id no more
      wait = patience(failed++);
    }
    standing("lost", wait / 1000);
    await pause(wait);
  }
}

async function once(last, on, opened) {
  const stop = new AbortController();
  let watch = setTimeout(() => stop.abort(), SILENCE);
  try {
    const answer = await send("v1/stream", {
      signal: stop.signal,
      headers: { Accept: "text/event-stream", ...(last === null ? {} : { "Last-Event-ID": last }) },
    });
    opened();
    const feed = parser(on);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(watch);
      watch = setTimeout(() => stop.abort(), SILENCE);
      feed(value);
    }
  } finally {
    clearTimeout(watch);
  }
}

const patience = (failed) => Math.min(LONGEST, 1000 * 2 ** failed) * (0.75 + Math.random() / 2);

/** Until the time is over, or the network or the reader is back. */
function pause(milliseconds) {
  return new Promise((resolve) => {
    const go = () => {
      clearTimeout(timer);
      removeEventListener("online", go);
      resolve();
    };
    const timer = setTimeout(go, milliseconds);
    addEventListener("online", go);
  });
}
