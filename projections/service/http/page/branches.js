// A document and those around it as a picture: sideways where there is room, else indented.

import { svg } from "./dom.js";
import { number, short } from "./format.js";
import { address } from "./values.js";

const ROW = 26;
const NODE = 118;
const GAP = 44; // between two columns, at least
const STEP = 24; // further in with each level

/** The picture in so much room: `children` are {document, below, more}, `label` a field whose value is shown. */
export function picture(found, room) {
  const { parts, width, height } = room < 3 * NODE + 2 * GAP ? indented(found) : sideways(found, room);
  return svg(
    "svg",
    { class: "tree", width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Tree" },
    parts,
  );
}

/** Left to right: its own link, the document, those that name it, those that name them. */
function sideways({ projection, key, children, more, parent, label }, room) {
  const columns = [...(parent ? [parent] : []), key].length + 2;
  const gap = Math.max(GAP, Math.min(130, Math.floor((room - columns * NODE) / (columns - 1))));
  const width = columns * NODE + (columns - 1) * gap;
  const column = (place) => place * (NODE + gap);
  const own = columns - 3;
  const told = (document) => label && document[label];
  const links = [];
  const nodes = []; // in the order that they are read in
  const ends = []; // the lines that the document leads to
  let line = 0;
  for (const child of children) {
    const height = Math.max(1, child.below.length + (child.more ? 1 : 0));
    const middle = (y(line) + y(line + height - 1)) / 2;
    ends.push(middle);
    nodes.push(
      node(projection, child.document[projection.key], column(own + 1), middle, told(child.document)),
    );
    for (const leaf of [...child.below, ...(child.more ? [null] : [])]) {
      const at = y(line++);
      links.push(link(column(own + 1) + NODE, middle, column(own + 2), at));
      nodes.push(
        leaf
          ? node(projection, leaf[projection.key], column(own + 2), at, told(leaf))
          : dots(column(own + 2), at),
      );
    }
    if (!child.below.length && !child.more) line += 1;
  }
  if (more) {
    ends.push(y(line++));
    nodes.push(dots(column(own + 1), ends.at(-1)));
  }
  const middle = (y(0) + y(line - 1)) / 2;
  for (const at of ends) links.push(link(column(own) + NODE, middle, column(own + 1), at));
  nodes.unshift(node(projection, key, column(own), middle, null, true));
  if (parent) {
    links.push(link(NODE, middle, column(1), middle));
    nodes.unshift(node(projection, parent, 0, middle));
  }
  return { parts: [links, nodes], width, height: line * ROW + 4 };
}

/** One below the other, further in with each level: where there is no room. */
function indented({ projection, key, children, more, parent, label }) {
  const links = [];
  const nodes = [];
  let line = 0;
  const add = (depth, above, draw) => {
    const at = y(line++);
    if (above !== null)
      links.push(
        svg("path", { class: "link", d: `M${(depth - 1) * STEP + 11} ${above + 10}V${at}H${depth * STEP}` }),
      );
    nodes.push(draw(depth * STEP, at));
    return at;
  };
  const told = (document) => label && document[label];
  const top = parent ? add(0, null, (x, at) => node(projection, parent, x, at)) : null;
  const own = parent ? 1 : 0;
  const middle = add(own, top, (x, at) => node(projection, key, x, at, null, true));
  for (const child of children) {
    const at = add(own + 1, middle, (x, to) =>
      node(projection, child.document[projection.key], x, to, told(child.document)),
    );
    for (const leaf of child.below)
      add(own + 2, at, (x, to) => node(projection, leaf[projection.key], x, to, told(leaf)));
    if (child.more) add(own + 2, at, dots);
  }
  if (more) add(own + 1, middle, dots);
  return { parts: [links, nodes], width: (own + 2) * STEP + NODE, height: line * ROW + 4 };
}

const y = (line) => line * ROW + ROW / 2 + 2;

const link = (x1, y1, x2, y2) =>
  svg("path", { class: "link", d: `M${x1} ${y1}C${(x1 + x2) / 2} ${y1} ${(x1 + x2) / 2} ${y2} ${x2} ${y2}` });

const dots = (x, at) => svg("text", { class: "more", x: x + 4, y: at + 4 }, "and more");

function node(projection, key, x, at, figure, own = false) {
  const told = figure !== null && figure !== undefined;
  return svg(
    "a",
    {
      class: own ? "node own" : "node",
      href: address(projection.name, key),
      "aria-label": told ? `${key}, ${figure}` : key,
      "aria-current": own ? "true" : null,
    },
    svg("rect", { x: x + 0.5, y: at - 10, width: NODE - 1, height: 20, rx: 5 }),
    svg("text", { x: x + 8, y: at + 4, class: "mono" }, short(key)),
    told && svg("text", { x: x + NODE - 8, y: at + 4, "text-anchor": "end" }, number(figure)),
  );
}
