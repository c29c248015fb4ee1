// The documents that refer to this one in a field, and those that refer to them: two levels, for any indexed field.

import { by, h, patch } from "./dom.js";
import { picture } from "./branches.js";
import { ask, Trouble } from "./api.js";
import { number, plural, short } from "./format.js";
import { address } from "./values.js";

const CHILDREN = 8;
const GRANDCHILDREN = 4;
let chosen = null; // the field that leads from one document to another

/** The fields that hold the key of another document and can be asked by. */
export const links = (projection) =>
  (projection.filters ?? []).filter(
    (field) => field !== projection.key && projection.addresses?.includes(field),
  );

/** The fields that documents are ranked by: numbers, for text that holds digits is not in their order. */
export const measures = ({ key, sorts, types }) =>
  (sorts ?? []).filter((field) => field !== key && /^(integer|integer256|number)$/.test(types?.[field]));

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

const plainly = new Set(); // projections without sorted lists

async function below(projection, field, key, limit) {
  const [measure] = measures(projection);
  const parameter = projection.parameters[field];
  const asked = (query) => ask(`v1/${projection.name}`, { [parameter]: key, limit, ...query });
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
              picture({ ...found, parent, label: measures(projection)[0] }, by("finder").clientWidth - 34),
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
