// How values look: numbers in groups, times as ages, hashes in short, states with a sign and a word.

import { h, svg } from "./dom.js";

const whole = new Intl.NumberFormat("en");
const compactly = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** In groups of three; digits that came as text stay the digits that they are. */
export const number = (value) =>
  value === null || value === undefined
    ? "–"
    : typeof value === "string"
      ? value.replace(/\d(?=(\d{3})+$)/g, "$&,")
      : whole.format(value);
export const compact = (value) =>
  Math.abs(value) < 10_000 ? number(Math.round(value)) : compactly.format(value);

/** A rate or another measure: as many digits as tell something. */
export function measure(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0 || value >= 100) return compact(value);
  const digits = value >= 10 ? 0 : value >= 1 ? 1 : 2;
  return String(Number(value.toFixed(digits)));
}

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

export const isHash = (value) => typeof value === "string" && /^0x[0-9a-f]{20,}$/i.test(value);
export const short = (value) => (value.length > 14 ? `${value.slice(0, 6)}…${value.slice(-4)}` : value);

/** A span of seconds in its two largest words. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const all = Math.max(0, Math.round(seconds));
  if (all < 60) return `${all} s`;
  if (all < 3600) return `${Math.floor(all / 60)} min`;
  if (all < 86_400) return `${Math.floor(all / 3600)} h ${Math.floor((all % 3600) / 60)} min`;
  return `${number(Math.floor(all / 86_400))} d ${Math.floor((all % 86_400) / 3600)} h`;
}

export function age(at) {
  const seconds = Date.now() / 1000 - at;
  if (seconds < -1.5) return `in ${span(-seconds)}`;
  if (seconds > 30 * 86_400) return stamp(at).slice(0, 16);
  return seconds < 2 ? "just now" : `${span(seconds)} ago`;
}

const stamp = (at) =>
  new Date(at * 1000)
    .toISOString()
    .replace("T", " ")
    .replace(/\.\d+Z$/, " UTC");

const CALENDAR = 8_640_000_000_000; // seconds before and after 1970 that a Date can say

/** A moment, in seconds since 1970: its age, with the time itself as its title; outside the calendar the seconds. */
export function when(at) {
  if (at === null || at === undefined) return "–";
  if (!(Math.abs(at) <= CALENDAR)) return h("span", { title: "seconds since 1970" }, `${number(at)} s`);
  return h("time", { datetime: new Date(at * 1000).toISOString(), title: stamp(at), "data-at": at }, age(at));
}

/** Ages grow while nothing else changes. */
export function grow() {
  for (const item of document.querySelectorAll("time[data-at]")) {
    const said = age(Number(item.dataset.at));
    if (item.textContent !== said) item.textContent = said;
  }
}

const SIGNS = {
  good: "M3 8.5l3.5 3.5L13 5",
  idle: "M4 8h8",
  busy: "M8 2.5a5.5 5.5 0 1 1-5.5 5.5",
  warn: "M8 3.5v6M8 12v.5",
  bad: "M4.5 4.5l7 7M11.5 4.5l-7 7",
};

/** A sign in a circle: never alone, a word stands beside it. */
export const sign = (kind) =>
  svg(
    "svg",
    { class: `sign ${kind}`, viewBox: "0 0 16 16", "aria-hidden": "true" },
    svg("path", { d: SIGNS[kind] }),
  );

const KINDS = {
  live: "good",
  current: "good",
  done: "good",
  ok: "good",
  ready: "busy",
  building: "busy",
  delivering: "busy",
  behind: "busy",
  running: "busy",
  held: "warn",
  stale: "warn",
  outdated: "warn",
  foreign: "bad",
  halted: "bad",
  down: "bad",
  failed: "bad",
  error: "bad",
  empty: "idle",
};

export const kindOf = (state) => KINDS[state] ?? "idle";
export const badge = (state, kind = kindOf(state)) =>
  h("span", { class: `badge ${kind}` }, sign(kind), state);

/** A hash or an address: in short, whole in its title and to those who listen. */
export function hash(value) {
  return h(
    "code",
    { title: value },
    h("span", { "aria-hidden": "true" }, short(value)),
    h("span", { class: "unseen" }, value),
  );
}

/** A text in which what stands in backquotes is code. */
export const prose = (text) =>
  text.split(/(`[^`]+`)/).map((part) => (/^`.+`$/.test(part) ? h("code", null, part.slice(1, -1)) : part));

/** A table with its caption, in a region that scrolls by itself. `columns` are {name, figure}. */
export function table(caption, columns, rows, options = {}) {
  return h(
    "div",
    { class: "scroll", role: "group", "aria-label": caption, tabindex: "0", "data-key": options.key },
    h(
      "table",
      { class: options.class },
      h("caption", { class: options.shown ? null : "unseen" }, caption),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          columns.map((column) =>
            h("th", { scope: "col", class: column.figure ? "figure" : null }, column.name),
          ),
        ),
      ),
      h(
        "tbody",
        null,
        rows.map((row) =>
          h(
            "tr",
            { "data-key": row.key },
            row.cells.map((cell, place) =>
              h(
                place === 0 ? "th" : "td",
                { scope: place === 0 ? "row" : null, class: columns[place].figure ? "figure" : null },
                cell,
              ),
            ),
          ),
        ),
      ),
    ),
  );
}

/** What stands where nothing is yet: what that means, and the next step. */
export const empty = (said, next) =>
  h(
    "div",
    { class: "empty" },
    h("p", null, prose(said)),
    next ? h("p", { class: "dim" }, prose(next)) : null,
  );
