// The events that made a document, newest first, and what each changed.

import { by, h, patch } from "./dom.js";
import { ask, Trouble } from "./api.js";
import { empty, hash, number, table, when } from "./format.js";
import { address } from "./values.js";
import { values } from "./reorgs.js";

const PAGE = 10;
let held = null; // {projection, key, events, next, complete}

/** Shows it; `current` says whether it is still wanted. A mere refresh keeps the pages that were loaded. */
export async function show(projection, key, current, refreshing) {
  const path = `v1/${projection.name}/document/history`;
  try {
    const limit = refreshing && held?.key === key ? Math.max(PAGE, held.events.length) : PAGE;
    const found = await ask(path, { key, limit });
    if (!current()) return;
    held = { projection, key, path, ...found };
    render();
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    if (current())
      patch(by("history"), error.status === 404 ? null : h("p", { class: "card bad" }, error.message));
  }
}

async function more() {
  const asked = held;
  const next = await ask(asked.path, { key: asked.key, limit: PAGE, cursor: asked.next });
  if (held !== asked) return;
  held = {
    ...asked,
    events: [...asked.events, ...next.events],
    next: next.next,
    complete: asked.complete && next.complete,
  };
  render();
}

const COLUMNS = [
  { name: "Block", figure: true },
  { name: "When" },
  { name: "Event" },
  { name: "What changed" },
  { name: "Transaction" },
];

function render() {
  const { projection, key, events, next, complete } = held;
  if (!events.length) {
    patch(by("history"), h("div", { class: "card" }, h("h3", null, "History"), empty("No event names it.")));
    return;
  }
  const rows = events.map((event, place) => ({
    key: `${event.entry}-${event.block}-${event.log_index}`,
    cells: [
      h(
        "a",
        {
          href: address(projection.name, key, event.block),
          "aria-label": `As it was after block ${event.block}`,
        },
        number(event.block),
      ),
      when(event.timestamp),
      [h("b", null, event.event), h("div", { class: "dim small" }, values(event.args, event.marks))],
      change(
        projection,
        event,
        place + 1 < events.length ? events[place + 1].after : next ? undefined : null,
        complete,
      ),
      event.tx_hash ? hash(event.tx_hash) : "–",
    ],
  }));
  patch(
    by("history"),
    h(
      "div",
      { class: "card" },
      h("h3", null, "History"),
      table(`History of ${key}`, COLUMNS, rows),
      !complete &&
        h(
          "p",
          { class: "dim small" },
          "Too many events to fold again: these are the ones that name it, without what they changed.",
        ),
      next && h("p", { class: "row" }, h("button", { type: "button", onclick: more }, "Show earlier events")),
    ),
  );
}

/** The fields that differ from before; undefined: what was before is not known here. */
function change(projection, event, before, complete) {
  if (!complete || before === undefined) return "–";
  if (event.after === null) return before === null ? "nothing" : h("span", { class: "dim" }, "removed");
  const fields = Object.keys(event.after).filter(
    (field) =>
      field !== projection.key &&
      field !== "updatedAt" &&
      JSON.stringify(event.after[field]) !== JSON.stringify(before?.[field] ?? null),
  );
  if (!fields.length) return h("span", { class: "dim" }, "nothing");
  const plain = (item) =>
    item === null || item === undefined
      ? "none"
      : /^0x.{18,}/.test(item)
        ? hash(item)
        : typeof item === "number" && item < 1e9
          ? number(item)
          : String(item);
  return h(
    "ul",
    { class: "plain" },
    fields.map((field) =>
      h(
        "li",
        null,
        h("span", { class: "dim" }, `${field} `),
        before !== null && [plain(before[field]), h("span", { class: "dim", "aria-label": "became" }, " → ")],
        plain(event.after[field]),
      ),
    ),
  );
}
