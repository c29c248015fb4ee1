// One document of any projection: found by its key, now or after a block, with its history and its tree.

import { by, h, patch, say } from "./dom.js";
import { parsed, send, Trouble } from "./api.js";
import { hash, isHash, number, prose } from "./format.js";
import { address, value } from "./values.js";
import * as history from "./history.js";
import * as tree from "./tree.js";

const SOON = 1000; // milliseconds in which many changes are one look
let served = []; // of /v1/projections
let shown = null; // {projection, key, block}: what the address names
let later = null;
let turn = 0; // answers that come after the next question are dropped

export function start(projections) {
  served = projections;
  finder();
  addEventListener("hashchange", route);
  route();
}

/** The document that is shown until the user chooses one. */
export function suggest(projection, key) {
  if (!shown && !location.hash.startsWith("#/")) show({ projection, key, block: null }, true);
}

/** Anything may have changed. */
export function refresh() {
  if (shown && shown.block === null) show(shown, true);
}

/** A document changed: if it is the one on the page it is shown again soon, once for many changes. */
export function changed(projection, key) {
  if (!shown || shown.projection.name !== projection || shown.key !== key) return;
  later ??= setTimeout(() => {
    later = null;
    refresh();
  }, SOON);
}

function route() {
  const found = /^#\/([^/]+)\/([^?]*)(?:\?block=(\d+))?$/.exec(location.hash);
  if (!found) {
    if (!shown) patch(by("document"), hint());
    return;
  }
  const projection = served.find(({ name }) => name === decodeURIComponent(found[1]));
  if (!projection) {
    patch(
      by("document"),
      h("p", { class: "card bad" }, `No projection ${decodeURIComponent(found[1])} is served here.`),
    );
    return;
  }
  show({
    projection,
    key: decodeURIComponent(found[2]),
    block: found[3] === undefined ? null : Number(found[3]),
  });
}

const hint = () =>
  h("p", { class: "card dim" }, "Search a key, or choose one from the ranking or from the latest changes.");

function finder() {
  const go = (event) => {
    event.preventDefault();
    const text = by("find-key").value;
    const key = isHash(text.trim()) ? text.trim() : text; // a key may begin or end with a space, or be empty
    const block = by("find-block").value.trim();
    const projection = by("find-projection")?.value ?? served[0].name;
    const next = address(projection, key, block === "" ? null : Number(block));
    if (location.hash === next) route();
    else location.hash = next;
  };
  patch(
    by("finder"),
    h(
      "form",
      { class: "finder", role: "search", "aria-label": "Find a document", onsubmit: go },
      served.length > 1 &&
        h(
          "div",
          null,
          h("label", { for: "find-projection" }, "Projection"),
          h(
            "select",
            { id: "find-projection" },
            served.map(({ name }) => h("option", { value: name }, name)),
          ),
        ),
      h(
        "div",
        { class: "wide" },
        h(
          "label",
          { for: "find-key" },
          served.length === 1 ? `${served[0].name} by ${served[0].key}` : "Key",
        ),
        h("input", {
          id: "find-key",
          type: "search",
          autocomplete: "off",
          spellcheck: "false",
          placeholder: "0x… in any case",
        }),
      ),
      h(
        "div",
        null,
        h("label", { for: "find-block" }, "After block"),
        h("input", { id: "find-block", type: "number", min: 0, step: 1, placeholder: "now" }),
      ),
      h("button", { type: "submit", class: "main" }, "Find"),
    ),
  );
}

async function show(wanted, quietly = false) {
  const mine = ++turn;
  shown = wanted;
  const { projection, key, block } = wanted;
  if (!quietly) {
    by("find-key").value = key;
    by("find-block").value = block ?? "";
    if (by("find-projection")) by("find-projection").value = projection.name;
    by("documents").scrollIntoView({ block: "start" });
  }
  let answer;
  let found;
  try {
    answer = await send(
      `v1/${projection.name}/document?key=${encodeURIComponent(key)}&${block === null ? "full=true" : `at_block=${block}`}`,
    );
    found = parsed(await answer.text());
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    if (mine !== turn) return;
    say(error.message);
    patch(by("document"), missing(error, wanted));
    patch(by("tree"));
    patch(by("history"));
    return;
  }
  if (mine !== turn) return;
  const own = found[projection.key] ?? key;
  shown = { ...wanted, key: own };
  patch(by("document"), card(projection, found, own, block, answer.headers));
  if (!quietly) say(`The document ${own} is shown.`);
  await Promise.all([
    tree.show(projection, own, found, block, () => mine === turn),
    history.show(projection, own, () => mine === turn, quietly),
  ]);
}

function card(projection, found, key, block, headers) {
  const revision = headers.get("X-Chainfold-Revision");
  const at = Number(headers.get("X-Chainfold-Block"));
  return h(
    "article",
    { class: "card", "aria-label": `Document ${key}` },
    h(
      "div",
      { class: "row" },
      h("h3", null, h("code", { class: "whole" }, key)),
      h(
        "span",
        { class: "dim small push" },
        block === null
          ? `as of block ${number(at)}${revision ? ` · revision ${number(Number(revision))}` : ""}`
          : `as it was after block ${number(at)}`,
      ),
    ),
    h(
      "dl",
      { class: "figures fields" },
      Object.entries(found)
        .filter(([field]) => field !== projection.key)
        .map(([field, item]) =>
          h("div", null, h("dt", null, field), h("dd", null, value(projection, field, item, block))),
        ),
    ),
    block !== null &&
      h("p", null, h("a", { href: address(projection.name, key, null) }, "Show it as it is now")),
  );
}

/** Why there is none: an unknown key, a block that is not kept, a service in trouble. */
function missing(error, { projection, key, block }) {
  return h(
    "div",
    { class: "card" },
    h("p", { class: error.status === 404 ? null : "bad" }, prose(error.message)),
    error.hint && h("p", { class: "dim" }, prose(error.hint)),
    block !== null &&
      h("p", null, h("a", { href: address(projection.name, key, null) }, "Show it as it is now")),
  );
}
