// Processes and their work: holders of leases, the schedule, incidents.

import { h } from "./dom.js";
import { badge, empty, number, plural, prose, span, table, when } from "./format.js";

const STAGES = {
  ingest: "reads",
  project: "folds",
  publish: "publishes",
  deliver: "delivers",
  prove: "proves",
  schedule: "runs",
};
const epochs = new Map();
const taken = new Map();

const HOLDERS = [{ name: "Work" }, { name: "Process" }, { name: "Taken", figure: true }];

/** The holder of each lease. The epoch counts how often it was taken: it rises with each takeover. */
export function holders(status) {
  const found = Object.entries(status.holders);
  for (const [lease, holder] of found) {
    if (epochs.has(lease) && epochs.get(lease) !== holder.epoch) taken.set(lease, Date.now() / 1000);
    epochs.set(lease, holder.epoch);
  }
  if (!found.length)
    return empty(
      "No process is at work.",
      "`chainfold run` starts one. What is there is served all the same.",
    );
  const rows = found.map(([lease, holder]) => {
    const [stage, ...what] = lease.split(":");
    return {
      key: lease,
      cells: [
        h("span", { title: lease }, STAGES[stage] ?? stage, /^\d+$/.test(what[0]) ? " chain " : " ", what[0]),
        [holder.host, h("span", { class: "dim" }, ` pid ${holder.pid}`)],
        [
          plural(holder.epoch, "time"),
          taken.has(lease) && h("span", { class: "mark" }, "taken over ", when(taken.get(lease))),
        ],
      ],
    };
  });
  return [
    h("h3", null, "Processes"),
    table("Processes at work", HOLDERS, rows),
    h("p", { class: "dim small" }, "Stand-bys hold nothing and are not seen. A takeover raises the count."),
  ];
}

const JOBS = [{ name: "Job" }, { name: "Next" }, { name: "Last" }, { name: "It was" }];

export function schedule(status) {
  const found = Object.entries(status.schedule);
  if (!found.length)
    return [
      h("h3", null, "Schedule"),
      empty(
        "Nothing is scheduled: the service follows the head.",
        "`[schedule]` in chainfold.toml runs sync, verify or a backup at times.",
      ),
    ];
  const rows = found.map(([name, job]) => ({
    key: name,
    cells: [
      name,
      job.next < Date.now() / 1000 ? "as soon as a service runs" : when(job.next),
      when(job.last),
      job.state
        ? [
            badge(job.state),
            job.seconds !== null && h("span", { class: "dim" }, ` ${span(job.seconds)}`),
            job.detail && h("div", { class: "dim small" }, job.detail),
          ]
        : "–",
    ],
  }));
  return [h("h3", null, "Schedule"), table("Schedule", JOBS, rows)];
}

/** What is wrong now and somebody has to see to: above everything else. */
export function incidents(status) {
  return [
    ...status.incidents.map((item) =>
      h(
        "article",
        { class: "card incident", "data-key": `incident-${item.id}` },
        h(
          "div",
          { class: "row" },
          badge("incident", "bad"),
          h("h2", null, item.title),
          h(
            "span",
            { class: "dim small push" },
            "since ",
            when(item.since),
            item.told ? ", alerted" : ", no alert sent",
          ),
        ),
        h("p", null, prose(item.detail)),
        h("p", { class: "dim" }, prose(item.todo)),
      ),
    ),
    ...status.undelivered.map((item) =>
      h(
        "article",
        { class: "card incident", "data-key": `undelivered-${item.target}` },
        h(
          "div",
          { class: "row" },
          badge("alerts", "warn"),
          h("h2", null, `${item.target} takes no alerts`),
          h("span", { class: "dim small push" }, "since ", when(item.since)),
        ),
        h("p", null, `${item.reason} Tried ${number(item.attempts)} times.`),
      ),
    ),
  ];
}
