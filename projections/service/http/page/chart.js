// Lines over time as SVG, and what they say in a sentence.

import { h, svg } from "./dom.js";
import { measure, span } from "./format.js";

const HEIGHT = 132;
const EDGE = { left: 40, right: 10, top: 10, bottom: 20 };
const LINES = 5; // more than these are not told apart

/** A chart of `lines` ({name, points: [[seconds, value or null]]}) of this width. */
export function chart(title, unit, lines, width, nothing) {
  const shown = lines.filter((line) => line.points.some(([, value]) => value !== null)).slice(0, LINES);
  const head = h("h3", null, title);
  if (!shown.some((line) => line.points.length > 2))
    return h("figure", { class: "card chart" }, head, h("p", { class: "dim wait" }, nothing));
  const points = shown.flatMap((line) => line.points.filter(([, value]) => value !== null));
  const last = Math.max(...points.map(([at]) => at));
  const first = Math.min(...points.map(([at]) => at), last - 60);
  const top = ceiling(Math.max(...points.map(([, value]) => value)));
  const right = width - EDGE.right;
  const bottom = HEIGHT - EDGE.bottom;
  const x = (at) => EDGE.left + ((at - first) / (last - first)) * (right - EDGE.left);
  const y = (value) => bottom - (value / top) * (bottom - EDGE.top);
  return h(
    "figure",
    { class: "card chart" },
    head,
    svg(
      "svg",
      {
        width,
        height: HEIGHT,
        viewBox: `0 0 ${width} ${HEIGHT}`,
        role: "img",
        "aria-label": `${title}, ${unit}`,
      },
      [0, top / 2, top].map((value) => [
        svg("line", { class: "grid", x1: EDGE.left, x2: right, y1: y(value), y2: y(value) }),
        svg("text", { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, measure(value)),
      ]),
      svg("text", { x: EDGE.left, y: HEIGHT - 4 }, `${span(last - first)} ago`),
      svg("text", { x: right, y: HEIGHT - 4, "text-anchor": "end" }, "now"),
      shown.map((line, place) => drawn(line.points, place, x, y, bottom)),
    ),
    h(
      "figcaption",
      null,
      h(
        "ul",
        { class: "legend" },
        shown.map((line, place) => said(line, place, unit)),
      ),
    ),
  );
}

function drawn(points, place, x, y, bottom) {
  const runs = [[]];
  for (const [at, value] of points) {
    if (value === null) runs.push([]);
    else runs.at(-1).push(`${x(at).toFixed(1)},${y(value).toFixed(1)}`);
  }
  return runs
    .filter((run) => run.length > 1)
    .map((run) => [
      place === 0 &&
        svg("polygon", {
          class: "area",
          points: `${run[0].split(",")[0]},${bottom} ${run.join(" ")} ${run.at(-1).split(",")[0]},${bottom}`,
        }),
      svg("polyline", { class: `line line-${place}`, points: run.join(" ") }),
    ]);
}

function said({ name, points }, place, unit) {
  const known = points.filter(([, value]) => value !== null).map(([, value]) => value);
  return h(
    "li",
    null,
    svg(
      "svg",
      { class: "sample", viewBox: "0 0 22 6", "aria-hidden": "true" },
      svg("line", { class: `line line-${place}`, x1: 0, x2: 22, y1: 3, y2: 3 }),
    ),
    h("b", null, name),
    ` ${measure(known.at(-1))} ${unit}`,
    h("span", { class: "dim" }, `, at most ${measure(Math.max(...known))}`),
  );
}

/** The next round number above. */
function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((step) => step * power).find((step) => step >= value * 1.05) ?? 20 * power;
}
