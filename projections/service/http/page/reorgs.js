// The chain changed its mind: when, how deep, and what each reorg orphaned.

import { h, svg } from "./dom.js";
import { ask, askIfThere } from "./api.js";
import { empty, hash, number, plural, short, span, table, when } from "./format.js";

const PAGE = 20;
const held = new Map(); // by chain {reorgs, next}; null where the service cannot tell
const logs = new Map(); // by chain and entry the orphaned events, null while they come

export async function load(chains) {
  for (const chain of chains)
    held.set(chain, await askIfThere(`v1/chains/${encodeURIComponent(chain)}/reorgs`, { limit: PAGE }));
}

/** A reorg that the stream told of. */
export function happened(item) {
  const known = held.get(item.chain);
  if (known && !known.reorgs.some(({ entry }) => entry === item.entry)) known.reorgs.unshift(item);
}

export const told = (item) =>
  `A reorg of ${item.chain} replaced ${plural(blocks(item), "block")} from ${number(item.first_block)}; ${orphaned(item)}.`;

const blocks = (item) => item.last_block - item.first_block + 1;
const kinds = (item) =>
  Object.entries(item.events ?? {})
    .map(([name, count]) => `${number(count)} × ${name}`)
    .join(", ");
const orphaned = (item) =>
  item.logs ? `${plural(item.logs, "log")} orphaned${kinds(item) && `: ${kinds(item)}`}` : "no log orphaned";

/** The timeline and the list; `again` renders them again. */
export function reorgs(status, width, again) {
  const known = [...held].filter(([, found]) => found);
  if (!known.length)
    return h("div", { class: "card" }, held.size ? totals(status) : h("p", { class: "dim" }, "Looking …"));
  const all = known
    .flatMap(([chain, found]) => found.reorgs.map((item) => ({ ...item, chain })))
    .sort((a, b) => b.recorded_at - a.recorded_at);
  if (!all.length)
    return h(
      "div",
      { class: "card" },
      empty(
        "No reorg was seen.",
        "When the chain replaces blocks, what left stays in the journal and is shown here; the documents follow by themselves.",
      ),
    );
  const more = known.filter(([, found]) => found.next);
  return h(
    "div",
    { class: "card" },
    timeline(all, width - 34),
    h(
      "ol",
      { class: "list" },
      all.map((item) => row(item, known.length > 1, again)),
    ),
    more.length > 0 &&
      h(
        "p",
        { class: "row" },
        h("button", { type: "button", onclick: () => older(more, again) }, "Show older ones"),
      ),
  );
}

const totals = (status) =>
  h(
    "p",
    { class: "dim" },
    "This process does not tell of single reorgs. ",
    Object.entries(status.chains)
      .map(([name, chain]) => `${name}: ${chain.reorgs ? plural(chain.reorgs, "reorg") : "none"}`)
      .join(", "),
    ".",
  );

async function older(more, again) {
  for (const [chain, found] of more) {
    const next = await ask(`v1/chains/${encodeURIComponent(chain)}/reorgs`, {
      limit: PAGE,
      cursor: found.next,
    });
    held.set(chain, { reorgs: [...found.reorgs, ...next.reorgs], next: next.next });
  }
  again();
}

/** A mark for each reorg over time: the deeper the higher. */
function timeline(all, width) {
  const height = 84;
  const bottom = height - 20;
  const now = Date.now() / 1000;
  const first = Math.min(all.at(-1).recorded_at, now - 60);
  const deepest = Math.max(...all.map(blocks));
  const x = (at) => 8 + ((at - first) / (now - first)) * (width - 16);
  const words = `${plural(all.length, "reorg")} in ${span(now - first)}, the deepest of ${plural(deepest, "block")}.`;
  return h(
    "figure",
    null,
    svg(
      "svg",
      { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words },
      svg("line", { class: "grid", x1: 0, x2: width, y1: bottom, y2: bottom }),
      all.map((item) => {
        const top = bottom - 10 - (blocks(item) / deepest) * (bottom - 26);
        return [
          svg("line", {
            class: "stem",
            x1: x(item.recorded_at),
            x2: x(item.recorded_at),
            y1: bottom,
            y2: top,
          }),
          item.logs
            ? svg("circle", { class: "knob", cx: x(item.recorded_at), cy: top, r: 5 })
            : svg("circle", { class: "knob hollow", cx: x(item.recorded_at), cy: top, r: 4 }),
        ];
      }),
      svg("text", { x: 0, y: height - 3 }, `${span(now - first)} ago`),
      svg("text", { x: width, y: height - 3, "text-anchor": "end" }, "now"),
    ),
    h("figcaption", { class: "dim" }, `${words} A full mark orphaned logs, a hollow one did not.`),
  );
}

function row(item, several, again) {
  const key = `${item.chain} ${item.entry}`;
  const shown = logs.has(key);
  const toggle = async () => {
    if (shown) logs.delete(key);
    else {
      logs.set(key, null);
      again();
      logs.set(key, await orphans(item));
    }
    again();
  };
  return h(
    "li",
    { "data-key": key },
    h(
      "div",
      { class: "row" },
      h(
        "b",
        null,
        several && `${item.chain} `,
        blocks(item) === 1
          ? `block ${number(item.first_block)}`
          : `blocks ${number(item.first_block)} – ${number(item.last_block)}`,
      ),
      h("span", null, orphaned(item)),
      h("span", { class: "dim small push" }, when(item.recorded_at), ` · entry ${number(item.entry)}`),
      item.logs > 0 &&
        h(
          "button",
          {
            type: "button",
            class: "quiet",
            "aria-expanded": String(shown),
            "aria-label": `What entry ${item.entry} orphaned`,
            onclick: toggle,
          },
          shown ? "Hide" : "Show",
        ),
    ),
    shown && (logs.get(key) ?? h("p", { class: "dim" }, "Looking …")),
  );
}

async function orphans(item) {
  try {
    const { events, next } = await ask("v1/events", {
      chain: item.chain,
      status: "orphaned",
      orphaned_by: item.entry,
      limit: 50,
    });
    return [
      listing(events, item),
      next &&
        h(
          "p",
          { class: "dim" },
          `The first ${events.length}. All of them: `,
          h("code", null, "chainfold events --orphaned"),
        ),
    ];
  } catch (error) {
    return h(
      "p",
      { class: error.status === 404 ? "dim" : "bad" },
      error.status === 404 ? "This process does not tell of single events." : error.message,
    );
  }
}

const listing = (events, item) =>
  table(
    `Events that entry ${item.entry} orphaned`,
    [
      { name: "Block", figure: true },
      { name: "Index", figure: true },
      { name: "Event" },
      { name: "Values" },
      { name: "Transaction" },
    ],
    events.map((event) => ({
      cells: [
        number(event.block),
        number(event.log_index),
        event.event ?? "unknown",
        values(event.args ?? {}, event.marks),
        event.tx_hash ? hash(event.tx_hash) : "–",
      ],
    })),
  );

/** Decoded values on one line; `marks` say which of them are not shown as they are. */
export const values = (args, marks = {}) =>
  Object.entries(args).map(([name, value], place) => [
    place > 0 && ", ",
    h("span", { class: "dim" }, `${name} `),
    marks[name]
      ? h("em", { title: marks[name] }, value === null ? "unreadable" : String(value))
      : /^0x.{18,}/.test(value) ? h("code", { title: value }, short(value)) : String(value),
  ]);
