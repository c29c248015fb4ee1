// Who names this document in a field, and who names those: two levels as a picture, for any field that can be asked by.

import { by, h, patch, svg } from "./dom.js";
import { ask, Trouble } from "./api.js";
import { number, plural, short } from "./format.js";
import { address } from "./explorer.js";

const CHILDREN = 8;
const GRANDCHILDREN = 4;
const ROW = 26;
const NODE = 118;
let chosen = null; // the field that leads from one document to another

/** The fields that hold the key of another document and can be asked by. */
export const links = (projection) =>
  (projection.filters ?? []).filter(
    (field) => field !== projection.key && projection.addresses?.includes(field),
  );

/** The fields that documents are ranked by. */
export const measures = ({ key, sorts, addresses }) =>
  (sorts ?? []).filter((field) => field !== key && !addresses?.includes(field));

export async function show(projection, key, document, block, current) {
  const fields = links(projection);
  if (!fields.length || block !== null) {
    patch(
      by("tree"),
      fields.length > 0 &&
        h("p", { class: "card dim" }, "The tree is drawn as it is now, not after a past block."),
    );
    return;
  }
  const field = fields.includes(chosen) ? chosen : fields[0];
  try {
    const children = await below(projection, field, key, CHILDREN);
    if (!current()) return;
    const grown = await Promise.all(
      children.documents.map(async (child) => ({
        document: child,
        ...(await rename(below(projection, field, child[projection.key], GRANDCHILDREN))),
      })),
    );
    if (current())
      render({
        projection,
        key,
        document,
        field,
        fields,
        children: grown,
        more: children.next !== null,
        current,
      });
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    if (current()) patch(by("tree"), error.status !== 404 && h("p", { class: "card bad" }, error.message));
  }
}

const rename = async (found) => {
  const { documents, next } = await found;
  return { below: documents, more: next !== null };
};

const plainly = new Set(); // projections of which no sorted lists are to be had

async function below(projection, field, key, limit) {
  const [measure] = measures(projection);
  const asked = (query) => ask(`v1/${projection.name}`, { [field]: key, limit, ...query });
  if (!measure || plainly.has(projection.name)) return asked({});
  try {
    return await asked({ sort: `-${measure}` });
  } catch (error) {
    if (!(error instanceof Trouble) || ![400, 422].includes(error.status)) throw error;
    plainly.add(projection.name); // the store finds by one field, in the order of keys
    return asked({});
  }
}

function render(found) {
  const { projection, key, document, field, fields, children, more, current } = found;
  const parent = document[field];
  const choose = (event) => {
    chosen = event.target.value;
    show(projection, key, document, null, current);
  };
  const second = children.reduce((sum, child) => sum + child.below.length, 0);
  patch(
    by("tree"),
    h(
      "div",
      { class: "card" },
      h(
        "div",
        { class: "row" },
        h("h3", null, "Tree"),
        fields.length > 1 &&
          h(
            "div",
            { class: "row push" },
            h("label", { for: "tree-field", class: "dim" }, "by"),
            h(
              "select",
              { id: "tree-field", onchange: choose },
              fields.map((name) => h("option", { value: name, selected: name === field }, name)),
            ),
          ),
      ),
      children.length
        ? [
            h(
              "div",
              { class: "scroll", role: "group", tabindex: "0", "aria-label": `Tree of ${key} by ${field}` },
              picture(found, parent, by("finder").clientWidth - 34),
            ),
            h(
              "p",
              { class: "dim small" },
              `${more ? "The first " : ""}${plural(children.length, "document")} with this ${field}, and ${children.some((child) => child.more) ? "the first " : ""}${number(second)} below.`,
            ),
          ]
        : h(
            "p",
            { class: "dim" },
            `No document has this one as its ${field}.`,
            parent
              ? [
                  " Its own is ",
                  h("a", { href: address(projection.name, parent) }, h("code", null, short(parent))),
                  ".",
                ]
              : "",
          ),
    ),
  );
}

/** Left to right: its own link, the document, those that name it, those that name them. */
function picture({ projection, key, children, more }, parent, room) {
  const columns = [...(parent ? [parent] : []), key].length + 2;
  const gap = Math.max(44, Math.min(130, Math.floor((room - columns * NODE) / (columns - 1))));
  const width = columns * NODE + (columns - 1) * gap;
  const column = (place) => place * (NODE + gap);
  const own = columns - 3;
  const [label] = measures(projection);
  const parts = [];
  let line = 0;
  const ends = children.map((child) => {
    const first = line;
    const leaves = child.below.map((leaf) => ({ leaf, y: y(line++) }));
    const rest = child.more ? y(line++) : null;
    if (line === first) line += 1;
    const middle = (y(first) + y(line - 1)) / 2;
    for (const { leaf, y: at } of leaves)
      parts.push(
        link(column(own + 1) + NODE, middle, column(own + 2), at),
        node(projection, leaf[projection.key], column(own + 2), at, label && leaf[label]),
      );
    if (rest !== null)
      parts.push(link(column(own + 1) + NODE, middle, column(own + 2), rest), dots(column(own + 2), rest));
    return { child, y: middle };
  });
  if (more) ends.push({ child: null, y: y(line++) });
  const middle = (y(0) + y(line - 1)) / 2;
  for (const { child, y: at } of ends) {
    parts.push(link(column(own) + NODE, middle, column(own + 1), at));
    parts.push(
      child
        ? node(
            projection,
            child.document[projection.key],
            column(own + 1),
            at,
            label && child.document[label],
          )
        : dots(column(own + 1), at),
    );
  }
  if (parent) parts.push(link(NODE, middle, column(1), middle), node(projection, parent, 0, middle));
  parts.push(node(projection, key, column(own), middle, null, true));
  const height = line * ROW + 4;
  return svg(
    "svg",
    { class: "tree", width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Tree" },
    parts,
  );
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
