// The documents that are first by a field, the totals, and what changed last.

import { by, h, patch } from "./dom.js";
import { askIfThere, Trouble } from "./api.js";
import { empty, hash, isHash, number, prose, table, when } from "./format.js";
import { address } from "./values.js";
import { measures } from "./tree.js";

const PAGE = 10;
const KEPT = 12;
const BLINK = 200; // milliseconds between two pictures of the latest changes
const SOON = 1500; // milliseconds in which many changes are one look

let served = [];
let projection = null;
let field = null;
let pages = [null]; // cursors, the last is the one shown
let latest = [];
let later = null;
let drawn = null;
let suggested = null; // called with the first document, to be shown

export function start(projections, suggest) {
  served = projections;
  suggested = suggest;
  projection = served.find((item) => measures(item).length) ?? served[0];
  field = projection ? (measures(projection)[0] ?? null) : null;
  activity();
  look();
}

/** A document was written or removed, as the stream tells it. */
export function changed(item) {
  latest = [{ ...item, at: Date.now() / 1000 }, ...latest].slice(0, KEPT);
  drawn ??= setTimeout(() => {
    drawn = null;
    activity();
  }, BLINK);
  refresh();
}

/** Looks again, soon, however often it is called. */
export function refresh() {
  later ??= setTimeout(() => {
    later = null;
    look();
  }, SOON);
}

async function look() {
  if (!projection) return;
  const asked = [projection, field, pages];
  const [page, totals] = await Promise.all([
    field && known(`v1/${projection.name}`, { sort: `-${field}`, limit: PAGE, cursor: pages.at(-1) }),
    known(`v1/${projection.name}/stats`, {}),
  ]);
  if (asked[0] !== projection || asked[1] !== field || asked[2] !== pages) return;
  render(page, totals);
  if (page?.documents?.length) suggested(projection, page.documents[0][projection.key]);
}

/** What a path answers; null where there is no such path, the trouble where there is another. */
async function known(path, query) {
  try {
    return await askIfThere(path, query);
  } catch (error) {
    if (error instanceof Trouble) return error;
    throw error;
  }
}

function choose(next, sort) {
  projection = next;
  field = sort ?? measures(next)[0] ?? null;
  pages = [null];
  look();
}

function render(page, totals) {
  patch(
    by("leaders"),
    totals?.sums &&
      h(
        "div",
        { class: "card", "data-key": "totals" },
        h("h3", null, `${projection.name} in all`),
        h(
          "dl",
          { class: "figures two" },
          [["documents", totals.documents], ...Object.entries(totals.sums)].map(([name, sum]) =>
            h("div", null, h("dt", null, name), h("dd", null, number(sum))),
          ),
        ),
      ),
    h(
      "div",
      { class: "card", "data-key": "ranking" },
      h("div", { class: "row" }, h("h3", null, "Ranking"), h("div", { class: "row push" }, choices())),
      ranking(page),
    ),
  );
}

const choices = () => [
  served.length > 1 &&
    h(
      "select",
      {
        "aria-label": "Projection of the ranking",
        onchange: (event) => choose(served.find(({ name }) => name === event.target.value)),
      },
      served.map(({ name }) => h("option", { value: name, selected: name === projection.name }, name)),
    ),
  measures(projection).length > 1 &&
    h(
      "select",
      { "aria-label": "Ranked by", onchange: (event) => choose(projection, event.target.value) },
      measures(projection).map((name) => h("option", { value: name, selected: name === field }, name)),
    ),
];

function ranking(page) {
  if (!field)
    return h(
      "p",
      { class: "dim" },
      `${projection.name} is listed by its ${projection.key} only. Published into MongoDB, it is ranked by fields.`,
    );
  if (page instanceof Trouble)
    return [
      h("p", { class: page.status === 0 || page.status === 500 ? "bad" : "dim" }, prose(page.message)),
      page.hint && h("p", { class: "dim" }, prose(page.hint)),
    ];
  if (!page) return h("p", { class: "dim" }, "This process serves no lists.");
  if (!page.documents.length) return empty("There is no document yet.");
  const first = (pages.length - 1) * PAGE;
  const turn = (next) => () => {
    pages = next;
    look();
  };
  return [
    table(
      `${projection.name} by ${field}`,
      [{ name: "Rank", figure: true }, { name: projection.key }, { name: field, figure: true }],
      page.documents.map((item, place) => ({
        cells: [first + place + 1, link(projection.name, item[projection.key]), number(item[field])],
      })),
      { class: "tight" },
    ),
    (pages.length > 1 || page.next) &&
      h(
        "p",
        { class: "row end" },
        h(
          "button",
          { type: "button", class: "quiet", disabled: pages.length === 1, onclick: turn(pages.slice(0, -1)) },
          "Previous",
        ),
        h(
          "button",
          { type: "button", class: "quiet", disabled: !page.next, onclick: turn([...pages, page.next]) },
          "Next",
        ),
      ),
  ];
}

const link = (name, key) => h("a", { href: address(name, key) }, isHash(key) ? hash(key) : key);

function activity() {
  patch(
    by("activity"),
    h("h3", null, "Latest changes"),
    latest.length
      ? h(
          "ol",
          { class: "list tight" },
          latest.map((item) =>
            h(
              "li",
              { class: "row", "data-key": `${item.projection}-${item.revision}-${item.key}` },
              link(item.projection, item.key),
              h(
                "span",
                { class: "dim" },
                item.document === null ? "removed, " : "",
                `block ${number(item.block)}`,
              ),
              h("span", { class: "dim small push" }, when(item.at)),
            ),
          ),
        )
      : h("p", { class: "dim" }, "Documents that change while this page is open are listed here."),
  );
}
