// What was seen since the page was opened: a sample for each look at the status, and rates between them.

const KEPT = 900; // half an hour of looks
const OVER = 5; // looks that a rate is taken over: one alone jumps
const BREAK = 20; // seconds without a look after which a line is broken

const series = { logs: new Map(), folded: new Map(), lag: new Map() };

/** Takes in a status, at `now` in seconds. */
export function observe(status, now) {
  for (const [name, chain] of Object.entries(status.chains)) add(series.logs, name, now, chain.logs);
  for (const [name, item] of Object.entries(status.projections)) {
    const block = item.build?.state === "building" ? item.build.block : item.block;
    if (block !== null) add(series.folded, name, now, block);
    if (item.lag_blocks !== null) add(series.lag, name, now, item.lag_blocks);
  }
}

function add(kind, name, now, value) {
  if (!kind.has(name)) kind.set(name, []);
  const points = kind.get(name);
  points.push([now, value]);
  if (points.length > KEPT) points.shift();
}

/** By name the points [seconds, value] of a kind as they were seen; null breaks the line. */
export const levels = (kind) => lines(kind, (points, at) => points[at][1]);

/** By name how fast it rose, a second; a value that falls (a reorg, a rebuild) has no rate. */
export const rates = (kind) =>
  lines(kind, (points, at) => {
    let from = at;
    while (from > 0 && at - from < OVER && points[from][0] - points[from - 1][0] < BREAK) from -= 1;
    if (from === at) return null;
    return Math.max(0, (points[at][1] - points[from][1]) / (points[at][0] - points[from][0]));
  });

function lines(kind, value) {
  return [...series[kind]].map(([name, points]) => ({
    name,
    points: points.flatMap(([now], at) => {
      const broken = at > 0 && now - points[at - 1][0] > BREAK;
      return broken
        ? [
            [now, null],
            [now, value(points, at)],
          ]
        : [[now, value(points, at)]];
    }),
  }));
}
