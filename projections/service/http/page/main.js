// The page: asks for the status while it is looked at, follows the stream, and shows each part.

import { by, h, patch, say } from "./dom.js";
import { ask, askIfThere, forget, token, Trouble } from "./api.js";
import { grow, number, plural, prose, sign, span } from "./format.js";
import { chains } from "./chains.js";
import { chart } from "./chart.js";
import * as explorer from "./explorer.js";
import { failures } from "./failures.js";
import * as leaders from "./leaders.js";
import { holders, incidents, schedule } from "./processes.js";
import { projections, sinks } from "./projections.js";
import * as reorgs from "./reorgs.js";
import * as samples from "./samples.js";
import { follow } from "./stream.js";

const EVERY = 2000;
let status = null;
let served = null; // of /v1/projections; null where this process serves none
let ready = false; // that was asked
let trouble = null;
let stream = ["wait"];

async function look() {
  try {
    status = await ask("v1/status");
    trouble = null;
    samples.observe(status, Date.now() / 1000);
    if (!ready) await begin();
    else if (stale || stream[0] !== "open") await moved();
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    if (trouble?.message !== error.message) say(error.message);
    trouble = error;
  }
  render();
}

/** Once, when the service first answers: what it serves decides what is shown. */
async function begin() {
  served = await askIfThere("v1/projections", {});
  ready = true;
  for (const item of document.querySelectorAll("[data-documents]")) item.hidden = !served?.length;
  if (served?.length) {
    explorer.start(served);
    leaders.start(served, explorer.suggest);
    follow(heard, standing);
  } else {
    standing("none");
  }
  await reorgs.load(Object.keys(status.chains));
}

let seen = "";
let stale = false; // the stream cannot say what it did not tell

/** Without a stream: what moved is asked for again. */
async function moved() {
  const documents = Object.values(status.projections).map((item) => [item.revision, item.block]);
  const replaced = Object.values(status.chains).map((chain) => chain.reorgs);
  const now = JSON.stringify([documents, replaced]);
  if (now === seen && !stale) return;
  seen = now;
  stale = false;
  await reorgs.load(Object.keys(status.chains));
  if (!served?.length) return;
  leaders.refresh();
  explorer.refresh();
}

function heard(event, data) {
  if (event === "document") {
    leaders.changed(data);
    explorer.changed(data.projection, data.key);
  } else if (event === "reset") {
    stale = true;
    soon();
  } else if (event === "reorg") {
    reorgs.happened(data);
    say(reorgs.told(data));
    soon();
  }
}

function standing(word, seconds) {
  if (word === "lost" && stream[0] === "open") say("The connection is lost.");
  if (word === "open" && stream[0] === "lost") {
    say("The connection is back.");
    stale = true;
    soon();
  }
  stream = [word, word === "lost" ? Date.now() / 1000 + seconds : 0];
  live();
}

let due = null;
function soon() {
  due ??= setTimeout(() => {
    due = null;
    look();
  }, 300);
}

function live() {
  const [word, at] = stream;
  const [kind, said] = trouble
    ? ["bad", trouble.status === 0 ? "No answer" : "In trouble"]
    : word === "open"
      ? ["good", "Live"]
      : word === "lost"
        ? ["warn", `Connection lost, next try in ${span(at - Date.now() / 1000)}`]
        : word === "none"
          ? ["busy", "Every 2 s"]
          : ["busy", "Connecting"];
  patch(by("live"), h("span", { class: `badge ${kind}` }, sign(kind), said));
  by("token").hidden = token() === null;
}

const inner = (id) => Math.max(280, by(id).clientWidth); // of a section: what it holds may be empty yet

function render() {
  live();
  patch(
    by("trouble"),
    trouble &&
      h(
        "div",
        { class: "card incident" },
        h(
          "p",
          null,
          h("b", null, prose(trouble.message)),
          " Asked again every 2 s; what is shown may be old.",
        ),
        trouble.hint && h("p", { class: "dim" }, prose(trouble.hint)),
      ),
  );
  if (!status) return;
  health();
  patch(by("incidents"), incidents(status));
  patch(by("tiles"), tiles());
  patch(by("chains-body"), chains(status, served, inner("chains")));
  patch(by("rates-body"), charts());
  patch(by("projections-body"), projections(status));
  patch(by("sinks-body"), sinks(status));
  patch(by("reorgs-body"), reorgs.reorgs(status, inner("reorgs"), render));
  patch(by("failures-body"), failures(status, render));
  patch(by("holders"), holders(status));
  patch(by("schedule"), schedule(status));
  grow();
}

function charts() {
  const all = inner("rates");
  const beside = all >= 900 ? 3 : all >= 560 ? 2 : 1;
  const width = Math.floor((all - (beside - 1) * 16) / beside) - 34;
  const wait = "A line needs a few looks: one is taken every 2 s while the page is visible.";
  return [
    chart("Logs into the journal", "logs/s", samples.rates("logs"), width, wait),
    chart("Blocks folded", "blocks/s", samples.rates("folded"), width, wait),
    chart("Behind the head", "blocks", samples.levels("lag"), width, wait),
  ];
}

/** The page in one sentence, and the next step where there is one. */
function health() {
  const wrong = status.incidents.length;
  const errors = [status.chains, status.projections, status.sinks]
    .flatMap(Object.values)
    .filter((item) => item.error).length;
  const items = Object.values(status.projections);
  const [kind, said, more] = wrong
    ? [
        "bad",
        plural(wrong, "incident"),
        "What is wrong and what to do stands below; nothing is lost meanwhile.",
      ]
    : errors
      ? ["bad", `${plural(errors, "part")} in error`, "See below what it says; everything else goes on."]
      : items.every((item) => item.state === "empty")
        ? [
            "idle",
            "Nothing has been built yet",
            "Run `chainfold sync` once, or `chainfold run` to follow the chain; this page fills by itself.",
          ]
        : items.some((item) => item.build?.state === "building")
          ? ["busy", "A build is under way", "What was built before is served meanwhile."]
          : items.some((item) => (item.lag_blocks ?? 0) > 2)
            ? [
                "busy",
                "Catching up",
                `${number(Math.max(...items.map((item) => item.lag_blocks ?? 0)))} blocks behind the head.`,
              ]
            : ["good", "All is well", "Every projection is at the head of its chain."];
  patch(by("health"), sign(kind), said);
  patch(by("health-more"), prose(more));
  document.title = kind === "good" ? "chainfold" : `${said} – chainfold`;
}

function tiles() {
  const all = Object.values(status.chains);
  const items = Object.values(status.projections);
  const sum = (list, field) => list.reduce((total, item) => total + (item[field] ?? 0), 0);
  const most = (list, field) =>
    list.reduce((top, item) => (item[field] === null ? top : Math.max(top ?? 0, item[field])), null);
  const finality = all
    .map((chain) => (chain.head === null || chain.finalized === null ? null : chain.head - chain.finalized))
    .filter((depth) => depth !== null);
  return [
    [
      "Head",
      number(most(all, "head")),
      all.length > 1 ? `highest of ${all.length} chains` : Object.keys(status.chains)[0],
    ],
    ["Not final", finality.length ? number(Math.max(...finality)) : "–", "blocks that may be replaced"],
    ["Behind", number(most(items, "lag_blocks")), "blocks, at most"],
    ["Documents", number(sum(items, "documents")), plural(items.length, "projection")],
    [
      "Events",
      number(sum(all, "logs")),
      `in ${plural(sum(all, "entries"), "journal entry", "journal entries")}`,
    ],
    ["Reorgs", number(sum(all, "reorgs")), "what left is kept"],
  ].map(([name, figure, note]) =>
    h(
      "div",
      null,
      h("dt", null, name),
      h("dd", null, h("b", null, figure), h("span", { class: "dim" }, note)),
    ),
  );
}

by("token").onclick = () => {
  forget();
  location.reload();
};

let waiting = null;
let busy = false;
async function turn() {
  if (busy) return;
  busy = true;
  clearTimeout(waiting);
  try {
    if (document.visibilityState === "visible") await look();
  } finally {
    busy = false;
    waiting = setTimeout(turn, EVERY);
  }
}
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && turn());
addEventListener("resize", render);
setInterval(() => {
  grow();
  live();
}, 1000);
turn();
