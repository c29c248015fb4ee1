// Projections and their sinks: where each stands, what is being built, under which digest.

import { h } from "./dom.js";
import { badge, empty, hash, number, plural, prose, span, table } from "./format.js";

const COLUMNS = [
  { name: "Projection" },
  { name: "State" },
  { name: "Block", figure: true },
  { name: "Behind", figure: true },
  { name: "Documents", figure: true },
  { name: "Revision", figure: true },
  { name: "Generation", figure: true },
  { name: "Digest" },
];

export function projections(status) {
  const found = Object.entries(status.projections);
  if (!found.length)
    return empty("No projection is configured.", "Add `[projections.referrals]` to chainfold.toml.");
  const rows = found.map(([name, item]) => ({
    key: name,
    cells: [
      name,
      badge(item.stands_still && item.state === "live" ? "stands still" : item.state),
      number(item.block),
      behind(item),
      number(item.documents),
      number(item.revision),
      number(item.generation),
      item.digest ? hash(item.digest) : "–",
    ],
  }));
  return [
    h("div", { class: "card flush", "data-key": "table" }, table("Projections", COLUMNS, rows)),
    ...found.map(notes),
  ];
}

function behind(item) {
  if (item.lag_blocks === null) return "–";
  return item.lag_blocks
    ? [number(item.lag_blocks), h("span", { class: "dim" }, ` · ${span(item.lag_seconds)}`)]
    : "0";
}

/** What a row cannot hold: a first build to begin, a build under way, an error. */
function notes([name, item]) {
  if (item.state === "empty")
    return h(
      "div",
      { class: "card", "data-key": name },
      empty(
        `${name}: nothing has been built yet.`,
        "`chainfold sync` reads the chain and builds it once; `chainfold run` builds it and then follows.",
      ),
    );
  const { build } = item;
  if (!build && !item.stands_still && !item.error) return null;
  return h(
    "div",
    { class: "card", "data-key": name },
    build &&
      h(
        "div",
        { class: "build" },
        h(
          "div",
          { class: "row" },
          h("h3", null, `${name}, generation ${build.generation}`),
          badge(build.state),
          h("b", { class: "push figure" }, `${build.percent} %`),
        ),
        h("progress", { max: 100, value: build.percent, "aria-label": `Build of ${name}` }),
        h(
          "p",
          { class: "dim" },
          `${number(build.events)} of ${plural(build.of, "event")}, block ${number(build.block)} of ${number(build.to_block)}. `,
          build.state === "ready"
            ? "Built and waiting to be promoted."
            : item.generation !== null && item.generation !== build.generation
              ? `Generation ${item.generation} is served meanwhile.`
              : "",
        ),
      ),
    item.stands_still &&
      h(
        "p",
        { class: "dim" },
        `What is served stands still at block ${number(item.block)}: no process runs the code that it was built by.`,
      ),
    item.error && h("p", { class: "bad" }, prose(item.error)),
  );
}

const SINKS = [
  { name: "Sink" },
  { name: "State" },
  { name: "Revision", figure: true },
  { name: "Revisions behind", figure: true },
  { name: "What is wrong" },
];

export function sinks(status) {
  const found = Object.entries(status.sinks);
  if (!found.length)
    return h(
      "div",
      { class: "card" },
      empty(
        "No sink is configured: the documents are in the store and in this API.",
        'A projection is published with `mongo = { collection = "users" }` or `redis = { key = "user:{address}" }`.',
      ),
    );
  const rows = found.map(([name, sink]) => ({
    key: name,
    cells: [
      name,
      badge(sink.state),
      number(sink.revision),
      number(sink.lag_revisions),
      sink.error ? h("span", { class: "bad" }, prose(sink.error)) : h("span", { class: "dim" }, "nothing"),
    ],
  }));
  return h("div", { class: "card flush" }, table("Sinks", SINKS, rows));
}
