// What did not work out, and how to try it again: a button where a token is in use, else the command.

import { h, say } from "./dom.js";
import { badge, empty, number, plural, prose, when } from "./format.js";
import { put, token } from "./api.js";

const BECAME = { done: "Done", pending: "Asked for", failed: "It failed" };
const asked = new Map(); // by failure, what became of the last try

/** Gaps, halted projections, undelivered documents and notifications; `again` renders the page again. */
export function failures(status, again) {
  const found = [...gaps(status), ...halted(status), ...aside(status), ...dead(status)];
  if (!found.length)
    return empty(
      "Nothing failed.",
      "Blocks that no node gives, events that cannot be folded, and documents and notifications that cannot be delivered are listed here.",
    );
  return h(
    "ul",
    { class: "list" },
    found.map((item) => row(item, again)),
  );
}

const gaps = (status) =>
  Object.entries(status.chains).flatMap(([chain, item]) =>
    item.gaps.map((gap) => ({
      key: `gap-${chain}-${gap.first_block}`,
      kind: ["gap", "warn"],
      title: `${chain}: blocks ${number(gap.first_block)} to ${number(gap.last_block)} are missing`,
      detail: gap.reason,
      facts: [`${plural(gap.attempts, "attempt")} since `, when(gap.since), ", next ", when(gap.retry_at)],
      body: { chain },
      command: "chainfold failures retry",
    })),
  );

const halted = (status) =>
  Object.entries(status.projections)
    .filter(([, item]) => item.state === "halted" || item.build?.state === "halted")
    .map(([name, item]) => ({
      key: `halted-${name}`,
      kind: ["halted", "bad"],
      title: `${name} is halted at block ${number(item.build?.state === "halted" ? item.build.block : item.block)}`,
      detail: item.error ?? "",
      facts: [
        "Everything else goes on. Mend the projector, start the service again and rebuild, or pass the event over: ",
        h("code", null, `chainfold failures skip ${name} --block N --log-index I --reason WHY`),
      ],
      body: { projection: name },
      command: `chainfold failures retry ${name}`,
    }));

const aside = (status) =>
  Object.entries(status.sinks).flatMap(([name, sink]) =>
    sink.aside.map((item, place) => ({
      key: `aside-${name}-${item.key}`,
      kind: ["set aside", "warn"],
      title: `${name} does not take ${item.key}`,
      detail: item.reason,
      facts: [
        `${plural(item.attempts, "attempt")} since `,
        when(item.since),
        ", next ",
        when(item.retry_at),
        place === 0 && sink.set_aside > sink.aside.length
          ? `; ${number(sink.set_aside)} are set aside in all`
          : "",
      ],
      body: { projection: name.slice(0, name.lastIndexOf(".")) },
      command: `chainfold failures retry ${name.slice(0, name.lastIndexOf("."))}`,
    })),
  );

const dead = (status) =>
  Object.entries(status.sinks)
    .filter(([, sink]) => sink.error?.includes("could not be delivered"))
    .map(([name, sink]) => ({
      key: `dead-${name}`,
      kind: ["undelivered", "warn"],
      title: `${name} has dead notifications`,
      detail: sink.error,
      facts: ["Mend the receiver first: their attempts are counted from zero again."],
      body: null,
      command: `chainfold notifications retry --all --projection ${name.split(".")[0]}`,
    }));

function row(item, again) {
  const result = asked.get(item.key);
  return h(
    "li",
    { "data-key": item.key },
    h(
      "div",
      { class: "row" },
      badge(...item.kind),
      h("h3", null, item.title),
      item.body && token() && button(item, result, again),
    ),
    h("p", null, prose(item.detail)),
    h("p", { class: "dim" }, item.facts),
    result?.said && h("p", { class: result.bad ? "bad" : "good", role: "status" }, result.said),
    !(item.body && token()) &&
      h(
        "p",
        { class: "command" },
        h("span", { class: "dim" }, "To try again, run "),
        h("code", null, item.command),
      ),
  );
}

function button(item, result, again) {
  const go = async () => {
    asked.set(item.key, { waiting: true });
    again();
    try {
      const { state, detail } = await put("v1/retry", item.body);
      asked.set(item.key, {
        bad: state === "failed",
        said: `${BECAME[state] ?? state}: ${detail.replace(/\.$/, "")}.`,
      });
    } catch (error) {
      asked.set(item.key, { bad: true, said: [error.message, error.hint].filter(Boolean).join(" ") });
    }
    say(asked.get(item.key).said);
    again();
  };
  return h(
    "button",
    { type: "button", class: "push", disabled: result?.waiting, onclick: go },
    result?.waiting ? "Trying …" : "Try again",
  );
}
