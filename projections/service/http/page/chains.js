// Where each chain stands: figures, and what is covered, proven, final and folded as bands.

import { h, svg } from "./dom.js";
import { badge, empty, hash, number, plural, prose, when } from "./format.js";

const ROW = 24;

/** A card for each chain; `projections` are those of /v1/projections, null if this process serves no documents. */
export function chains(status, projections, width) {
  const names = Object.keys(status.chains);
  if (!names.length)
    return empty("No chain is configured.", "Add `[chains.main]` with an `rpc` to chainfold.toml.");
  return names.map((name) => {
    const chain = status.chains[name];
    const folded = Object.entries(status.projections).filter(([other]) =>
      projections
        ? projections.some((item) => item.name === other && item.chain === name)
        : names.length === 1,
    );
    return h(
      "article",
      { class: "card", "data-key": name, "aria-label": `Chain ${name}` },
      h(
        "div",
        { class: "row" },
        h("h3", null, name),
        badge(...standing(chain)),
        chain.last_sync_at !== null &&
          h("span", { class: "dim small push" }, "journal written ", when(chain.last_sync_at)),
      ),
      chain.error && h("p", { class: "bad" }, prose(chain.error)),
      figures(chain),
      chain.head === null || chain.covered_to === null
        ? begin(chain)
        : pictures(name, chain, folded, Math.max(280, width - 34)),
      unhandled(chain),
    );
  });
}

function standing(chain) {
  if (chain.error) return ["error", "bad"];
  if (chain.head === null) return ["empty", "idle"];
  if (chain.gaps.length) return [plural(chain.gaps.length, "gap"), "warn"];
  const behind = chain.head - (chain.covered_to ?? 0);
  return behind > 2 ? [`${number(behind)} blocks behind`, "busy"] : ["at the head", "good"];
}

const begin = (chain) =>
  empty(
    chain.head === null ? "Nothing was read from this chain yet." : "Its first blocks are being read.",
    "`chainfold sync` reads it once up to the head; `chainfold run` follows it.",
  );

function figures(chain) {
  const items = [
    ["Head", number(chain.head)],
    [
      "Final",
      chain.finalized === null
        ? "–"
        : [number(chain.finalized), chain.head !== null && ` (−${number(chain.head - chain.finalized)})`],
    ],
    ["Covered to", number(chain.covered_to)],
    [
      "Proven",
      chain.proven_to === null ? "not yet" : `${number(chain.proven_from)} – ${number(chain.proven_to)}`,
    ],
    ["Logs", number(chain.logs)],
    ["Entries", number(chain.entries)],
    ["Reorgs", chain.reorgs ? [number(chain.reorgs), " · ", when(chain.last_reorg)] : "none"],
    ["Requests to nodes", number(Object.values(chain.calls).reduce((sum, count) => sum + count, 0))],
  ];
  return h(
    "dl",
    { class: "figures" },
    items.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))),
  );
}

function pictures(name, chain, folded, width) {
  const rows = bands(chain, folded);
  const first = Math.min(chain.covered_from ?? 0, chain.proven_from ?? Infinity);
  const follow = rows.filter((row) => row.to !== null && row.kind !== "proven"); // proofs come later by far
  const lowest = Math.min(...follow.map((row) => row.to));
  const near = Math.max(first, chain.head - Math.max(40, Math.ceil((chain.head - lowest) * 1.25)));
  const wide = near - first > (chain.head - first) / 2;
  const half = wide && width > 760 ? Math.floor((width - 24) / 2) : width;
  return h(
    "div",
    { class: "bands" },
    picture(`${name}, All blocks`, rows, chain.gaps, first, chain.head, half),
    wide && picture(`${name}, Near the head`, rows, chain.gaps, near, chain.head, half),
  );
}

const bands = (chain, folded) => [
  { name: "Covered", kind: "covered", from: chain.covered_from ?? 0, to: chain.covered_to },
  { name: "Proven", kind: "proven", from: chain.proven_from, to: chain.proven_to },
  { name: "Final", kind: "final", from: 0, to: chain.finalized },
  ...folded.map(([name, item]) => ({ name, kind: "folded", from: chain.covered_from ?? 0, to: item.block })),
];

/** Bands over the blocks `first` to `last`, with their names at the left and their ends at the right. */
function picture(title, rows, gaps, first, last, width) {
  const left = Math.min(96, Math.max(...rows.map((row) => row.name.length)) * 7 + 10);
  const right = width - (Math.max(4, number(last).length) * 7 + 12);
  const height = rows.length * ROW + 2;
  const x = (block) =>
    left + ((Math.min(last, Math.max(first, block)) - first) / Math.max(1, last - first)) * (right - left);
  const words = rows
    .map((row) => `${row.name}: ${row.to === null ? "none" : `to ${number(row.to)}`}`)
    .join("; ");
  const holes = gaps.length
    ? `; missing: ${gaps.map((gap) => `${number(gap.first_block)} to ${number(gap.last_block)}`).join(", ")}`
    : "";
  return h(
    "figure",
    null,
    svg(
      "svg",
      {
        width,
        height,
        viewBox: `0 0 ${width} ${height}`,
        role: "img",
        "aria-label": `${title}, ${number(first)} to ${number(last)}. ${words}${holes}.`,
      },
      rows.map((row, place) => {
        const y = place * ROW + 4;
        const [from, to] = row.to === null || row.to < first ? [0, 0] : [x(row.from ?? first), x(row.to)];
        return [
          svg("text", { x: 0, y: y + 12 }, row.name.length > 13 ? `${row.name.slice(0, 12)}…` : row.name),
          svg("rect", { class: "track", x: left, y, width: right - left, height: 16, rx: 3 }),
          to > from &&
            svg("rect", {
              class: `band ${row.kind}`,
              x: from,
              y,
              width: Math.max(2, to - from),
              height: 16,
              rx: 3,
            }),
          row.kind === "covered" &&
            gaps.map(
              (gap) =>
                gap.last_block >= first &&
                svg("rect", {
                  class: "hole",
                  x: x(gap.first_block),
                  y: y - 2,
                  width: Math.max(3, x(gap.last_block) - x(gap.first_block)),
                  height: 20,
                }),
            ),
          svg(
            "text",
            { class: "strong", x: width, y: y + 12, "text-anchor": "end" },
            row.to === null ? "none" : number(row.to),
          ),
        ];
      }),
    ),
    h("figcaption", { class: "dim" }, `${title.split(", ")[1]}: ${number(first)} – ${number(last)}`),
  );
}

function unhandled(chain) {
  if (!chain.unhandled.length) return null;
  return h(
    "details",
    { "data-key": "unhandled" },
    h("summary", null, `${plural(chain.unhandled.length, "kind")} of logs that no declared event fits`),
    h(
      "ul",
      { class: "plain" },
      chain.unhandled.map((item) =>
        h(
          "li",
          null,
          item.contract,
          " ",
          hash(item.address),
          " topic ",
          item.topic0 ? hash(item.topic0) : "none",
        ),
      ),
    ),
    h(
      "p",
      { class: "dim" },
      "They are kept in the journal. Declare the event and rebuild, and its history is there.",
    ),
  );
}
