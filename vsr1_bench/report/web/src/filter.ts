/* Which samples of a task are listed, and in which order; the address holds it all. */

import { FLAGS, type RunColumns, type TaskIndex, type TaskSummary } from "./types";

export type Sort = "disagreement" | "data" | "longest" | "shortest";
export const SORTS: Record<Sort, string> = {
  disagreement: "runs disagree first",
  data: "data order",
  longest: "longest response first",
  shortest: "shortest response first",
};

export const FLAG_NAMES: [keyof typeof FLAGS, string][] = [
  ["blind_right", "right when blind"],
  ["unparsed", "unparsed"],
  ["truncated", "truncated"],
  ["cut_reading", "reading truncated"],
  ["disagree", "judges disagree"],
  ["changed", "question changed"],
];

export interface Filter {
  run: number;
  /** Codes of VERDICTS and CELLS; "" = all. */
  verdicts: string;
  cells: string;
  /** Bits of FLAGS that must be set. */
  flags: number;
  groups: Record<string, string>;
  text: string;
  sort: Sort;
  /** "0,1": only samples on which these runs differ; "0>1": on which 0 does better than 1. */
  flips: string;
}

export function mainRuns(task: TaskSummary): number[] {
  const found = task.runs.map((_, i) => i).filter((i) => task.runs[i]!.blind_of === null);
  return found.length ? found : task.runs.map((_, i) => i);
}

export function parseFilter(query: URLSearchParams, task: TaskSummary): Filter {
  const mains = mainRuns(task);
  const run = Number(query.get("run") ?? mains[0] ?? 0);
  const sort = query.get("sort") as Sort | null;
  const groups: Record<string, string> = {};
  for (const [name, value] of query) if (name.startsWith("by.")) groups[name.slice(3)] = value;
  return {
    run: task.runs[run] ? run : 0,
    verdicts: query.get("verdict") ?? "",
    cells: query.get("cell") ?? "",
    flags: Number(query.get("flags") ?? 0) || 0,
    groups,
    text: query.get("q") ?? "",
    sort: sort && sort in SORTS ? sort : mains.length > 1 ? "disagreement" : "data",
    flips: query.get("flips") ?? "",
  };
}

export function filterQuery(filter: Filter, task: TaskSummary): Record<string, string> {
  const usual = parseFilter(new URLSearchParams(), task);
  const found: Record<string, string> = {};
  if (filter.run !== usual.run) found["run"] = String(filter.run);
  if (filter.verdicts) found["verdict"] = filter.verdicts;
  if (filter.cells) found["cell"] = filter.cells;
  if (filter.flags) found["flags"] = String(filter.flags);
  for (const [name, value] of Object.entries(filter.groups)) found[`by.${name}`] = value;
  if (filter.text) found["q"] = filter.text;
  if (filter.sort !== usual.sort) found["sort"] = filter.sort;
  if (filter.flips) found["flips"] = filter.flips;
  return found;
}

/** Share of right responses of each sample of a run; NaN = without a verdict. */
export function shares(index: TaskIndex, run: number): Float32Array {
  const known = cachedShares.get(index)?.[run];
  if (known) return known;
  const size = index.ids.length;
  const found = new Float32Array(size);
  const columns = index.runs[run]!;
  const n = columns.verdict.length / Math.max(1, size);
  for (let sample = 0; sample < size; sample++) {
    let right = 0;
    let judged = 0;
    for (let at = sample * n; at < sample * n + n; at++) {
      const verdict = columns.verdict[at];
      const score = columns.score?.[at];
      if (verdict === "c") right++;
      else if (verdict === "g") right += score ?? 0;
      if (verdict === "c" || verdict === "i" || verdict === "g") judged++;
    }
    found[sample] = judged ? right / judged : NaN;
  }
  const all = cachedShares.get(index) ?? [];
  all[run] = found;
  cachedShares.set(index, all);
  return found;
}
const cachedShares = new WeakMap<TaskIndex, Float32Array[]>();

/** How far the runs are apart on each sample: the highest share right minus the lowest. */
export function disagreement(index: TaskIndex, runs: readonly number[]): Float32Array {
  const size = index.ids.length;
  const low = new Float32Array(size).fill(Infinity);
  const high = new Float32Array(size).fill(-Infinity);
  for (const run of runs) {
    shares(index, run).forEach((share, sample) => {
      if (Number.isNaN(share)) return;
      if (share < low[sample]!) low[sample] = share;
      if (share > high[sample]!) high[sample] = share;
    });
  }
  return high.map((value, sample) => (value >= low[sample]! ? value - low[sample]! : 0));
}

/** Responses per sample of a run's columns. */
export function perSample(index: TaskIndex, run: number): number {
  return Math.max(1, Math.round(index.runs[run]!.verdict.length / Math.max(1, index.ids.length)));
}

/**
 * The samples that a filter leaves, in its order.
 *
 * @param hits Samples that hold the text; null = no text is searched.
 */
export function apply(
  index: TaskIndex,
  task: TaskSummary,
  filter: Filter,
  hits: Uint8Array | null,
): number[] {
  const found: number[] = [];
  const columns = index.runs[filter.run];
  if (!columns) return found;
  const n = perSample(index, filter.run);
  const wanted = Object.entries(filter.groups).map(([name, value]): [number[], number] => {
    const coded = index.groups[name];
    return [coded?.codes ?? [], coded ? coded.values.indexOf(value) : -2];
  });
  const flipped = flipRuns(filter, task).map((run) => shares(index, run));
  const better = filter.flips.includes(">");
  const grouped = wanted.length > 0;
  const open = !filter.verdicts && !filter.cells && !filter.flags;
  for (const sample of order(index, task, filter, n)) {
    if (hits && !hits[sample]) continue;
    if (grouped && wanted.some(([codes, code]) => codes[sample] !== code)) continue;
    if (flipped.length && !differ(flipped, sample, better)) continue;
    if (open || anyResponse(columns, filter, sample, n)) found.push(sample);
  }
  return found;
}

function flipRuns(filter: Filter, task: TaskSummary): number[] {
  const runs = filter.flips.split(/[,>]/).filter(Boolean).map(Number);
  return runs.every((run) => task.runs[run]) ? runs : [];
}

function differ(all: Float32Array[], sample: number, better: boolean): boolean {
  if (better) return all[0]![sample]! > all[1]![sample]!; // false for NaN
  const known = all.map((one) => one[sample]!).filter((share) => !Number.isNaN(share));
  return known.some((share) => share !== known[0]);
}

function anyResponse(columns: RunColumns, filter: Filter, sample: number, n: number): boolean {
  if (!filter.verdicts && !filter.cells && !filter.flags) return true;
  for (let at = sample * n; at < sample * n + n; at++) {
    if (filter.verdicts && !filter.verdicts.includes(columns.verdict[at]!)) continue;
    if (filter.cells && !filter.cells.includes(columns.cell[at] || "?")) continue;
    if ((columns.flags[at]! & filter.flags) !== filter.flags) continue;
    return true;
  }
  return false;
}

/** All samples in the order of a filter; sorted once. */
function order(index: TaskIndex, task: TaskSummary, filter: Filter, n: number): Uint32Array {
  const known = cachedOrders.get(index) ?? new Map<string, Uint32Array>();
  cachedOrders.set(index, known);
  const runs = filter.flips ? flipRuns(filter, task) : mainRuns(task);
  const key = `${filter.sort} ${filter.sort === "disagreement" ? runs.join() : filter.run}`;
  const found = known.get(key) ?? sorted(index, filter, runs, n);
  known.set(key, found);
  return found;
}
const cachedOrders = new WeakMap<TaskIndex, Map<string, Uint32Array>>();

function sorted(index: TaskIndex, filter: Filter, runs: number[], n: number): Uint32Array {
  if (filter.sort === "data") return Uint32Array.from(index.ids, (_, sample) => sample);
  if (filter.sort === "disagreement") {
    const apart = disagreement(index, runs);
    return byRank(index, (sample) => Math.round(1e6 * (1 - apart[sample]!)));
  }
  const { chars } = index.runs[filter.run]!;
  const length = (sample: number): number => {
    let most = -1;
    for (let at = sample * n; at < sample * n + n; at++) most = Math.max(most, chars[at]!);
    return most;
  };
  const longest = filter.sort === "longest";
  return byRank(index, (sample) => (longest ? 2 ** 30 - length(sample) : length(sample) + 1));
}

/** Samples by a whole number from 0 to 2^30, then in data order. Numbers sort faster than by a call. */
function byRank(index: TaskIndex, rank: (sample: number) => number): Uint32Array {
  const size = index.ids.length;
  const keys = Float64Array.from(index.ids, (_, sample) => rank(sample) * size + sample);
  return Uint32Array.from(keys.sort(), (key) => key % size);
}

export interface Counts {
  verdicts: Record<string, number>;
  cells: Record<string, number>;
  flags: Record<string, number>;
}

/** How many samples of a run have a response of each kind. */
export function counts(index: TaskIndex, run: number): Counts {
  const known = cachedCounts.get(index) ?? [];
  cachedCounts.set(index, known);
  return (known[run] ??= counted(index, run));
}
const cachedCounts = new WeakMap<TaskIndex, Counts[]>();

function counted(index: TaskIndex, run: number): Counts {
  const columns = index.runs[run]!;
  const n = perSample(index, run);
  const found: Counts = { verdicts: {}, cells: {}, flags: {} };
  const add = (table: Record<string, number>, keys: Set<string>): void => {
    for (const key of keys) table[key] = (table[key] ?? 0) + 1;
  };
  if (n === 1) {
    countSingle(columns, found);
    return found;
  }
  for (let sample = 0; sample < index.ids.length; sample++) {
    const verdicts = new Set<string>();
    const cells = new Set<string>();
    const flags = new Set<string>();
    for (let at = sample * n; at < sample * n + n; at++) {
      verdicts.add(columns.verdict[at]!);
      if (columns.cell) cells.add(columns.cell[at]!);
      for (const [name] of FLAG_NAMES) if (columns.flags[at]! & FLAGS[name]) flags.add(name);
    }
    add(found.verdicts, verdicts);
    add(found.cells, cells);
    add(found.flags, flags);
  }
  return found;
}

function countSingle(columns: RunColumns, found: Counts): void {
  const count = (codes: string, table: Record<string, number>): void => {
    const all = new Uint32Array(128);
    for (let i = 0; i < codes.length; i++) all[codes.charCodeAt(i) & 127]!++;
    all.forEach((n, code) => {
      if (n) table[String.fromCharCode(code)] = n;
    });
  };
  count(columns.verdict, found.verdicts);
  count(columns.cell, found.cells);
  for (const [name] of FLAG_NAMES) {
    const bit = FLAGS[name];
    let n = 0;
    for (const bits of columns.flags) n += bits & bit;
    if (n) found.flags[name] = n / bit;
  }
}
