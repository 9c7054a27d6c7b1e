/* What a page gives to the frame around it, and parts that several pages show. */

import { copy, h } from "./dom";
import { fixed, percent } from "./format";
import { domainOf, intervalBar, type Domain, type Field } from "./charts";
import type { CellCode } from "./marks";
import { oneLine, plainNodes } from "./plain";
import { toTask } from "./route";
import type { JudgeSummary, Overview, Pair, RunSummary, Score, TaskSummary, Value } from "./types";

export interface View {
  title: string;
  /** Text and address of the pages above this one. */
  crumbs: [string, string][];
  element: HTMLElement;
  keys?: Record<string, () => void>;
  /** What these keys do; absent = those of a report. */
  keyNames?: [string[], string][];
  /** The page was scrolled or resized. */
  scrolled?: () => void;
  /** The page is printed, or was. */
  printed?: (on: boolean) => void;
  /** Another page takes its place. */
  closed?: () => void;
}

export interface Context {
  overview: Overview;
  /** Draw the page of the present address again. */
  refresh: () => void;
}

export const METRIC_NAMES: Record<string, string> = {
  accuracy: "accuracy",
  accuracy_strict: "strict accuracy",
  lsr: "language shortcuts (lsr)",
  self_contained: "self-contained",
  saw_but_wrong: "saw but wrong",
  leakage: "leakage",
  no_description: "no description",
  circular_accuracy: "circular accuracy",
  position_bias: "position bias",
};
const METRIC_HELP: Record<string, string> = {
  accuracy_strict: "Correct responses of all responses, those without a verdict included",
  lsr: "Right answers whose description does not carry the answer, of all responses",
  self_contained: "Descriptions from which the reader reaches the gold answer",
  saw_but_wrong: "Wrong answers although the description carries the right one",
  leakage: "Descriptions that state the answer itself",
  no_description: "Responses without a description",
  circular_accuracy: "Questions answered right in every order of their options",
  position_bias: "Standard deviation of accuracy over the position of the gold answer, without its noise",
};

export function metricName(name: string): string {
  const known = METRIC_NAMES[name];
  if (known) return known;
  return name
    .replace(/^blind_accuracy\[(.+)\]$/, "accuracy when blind ($1)")
    .replace(/^gain\[(.+)\]$/, "gain over blind ($1)");
}

/** What a run's variant is called. */
export const variantLabel = (variant: string): string =>
  variant === "circular" ? "other orders of the options" : `blind: ${variant}`;

export const metricHelp = (name: string): string => METRIC_HELP[name] ?? "";

/** A task by its name. */
export function findTask(context: Context, name: string): [TaskSummary, number] {
  const number = context.overview.tasks.findIndex((task) => task.name === name);
  const task = context.overview.tasks[number];
  if (!task) throw new Error(`This report has no task ${oneLine(name)}.`);
  return [task, number];
}

/** A letter for each run, for lists that have no room for names. */
export function letter(run: number): string {
  return run < 26 ? String.fromCharCode(65 + run) : String(run + 1);
}

export function runBadge(run: number): HTMLElement {
  return h("span", { class: "badge", "aria-hidden": "true" }, letter(run));
}

export const mainJudge = (run: RunSummary): JudgeSummary | null => run.judges[0] ?? null;
export const mainScore = (run: RunSummary): Score | null => mainJudge(run)?.score ?? null;

/** The fields of a run's square, with links to their samples. */
export function fieldsOf(task: TaskSummary, run: number, score: Score): Field[] {
  const seen = score.perception;
  if (!seen) return [];
  const field = (code: CellCode, n: number): Field => ({
    code,
    n,
    href: toTask(task.name, { run, cell: code }),
  });
  return [
    field("a", seen.table.sufficient.correct),
    field("s", seen.table.insufficient.correct),
    field("b", seen.table.sufficient.incorrect),
    field("d", seen.table.insufficient.incorrect),
    field("n", seen.undescribed),
    field("u", seen.uncounted),
  ];
}

/** "72.9" and its interval as text. */
export function valueText(value: Value): [string, string] {
  const text = value.unit ? (v: number | null) => fixed(v, 4) : (v: number | null) => percent(v);
  const interval =
    value.low === null || value.high === null ? "" : `${text(value.low)} to ${text(value.high)}`;
  return [text(value.value), interval];
}

/** A row of a table of metrics: name, value, interval. */
export function metricRow(
  label: string | Node,
  value: Value,
  domain: Domain,
  props: { title?: string; kind?: string } = {},
): HTMLElement {
  const [text, interval] = valueText(value);
  const scale = value.unit ? 1 : 100;
  const scaled = (v: number | null): number | null => (v === null ? null : v * scale);
  return h(
    "tr",
    { class: props.kind ?? null },
    h("th", { scope: "row", title: props.title || null }, label),
    h("td", { class: "number value" }, text),
    h(
      "td",
      { class: "bar" },
      value.value === null
        ? null
        : intervalBar(scaled(value.value), scaled(value.low), scaled(value.high), domain),
    ),
    h("td", { class: "number muted" }, interval),
  );
}

/** All metrics of a score, on one scale that holds every interval. */
export function metricTable(score: Score): HTMLElement {
  const lows = score.metrics.map(([, value]) => (value.unit ? 0 : 100 * (value.low ?? value.value ?? 0)));
  const domain = domainOf([Math.min(0, ...lows), 100]);
  return h(
    "table",
    { class: "metrics" },
    h("caption", { class: "sr" }, "Metrics in percent with 95 % intervals"),
    h(
      "tbody",
      null,
      score.metrics.map(([name, value]) =>
        metricRow(metricName(name), value, domain, {
          title: metricHelp(name),
          kind: name === score.headline ? "headline" : "",
        }),
      ),
    ),
  );
}

/** A command with a button that copies it. It may come from a downloaded run: all of it is shown. */
export function commandLine(text: string, what = "Command"): HTMLElement {
  return h(
    "div",
    { class: "command" },
    h("code", { tabindex: "0" }, plainNodes(text)),
    h("button", { type: "button", onclick: () => void copy(text, what) }, "Copy"),
  );
}

/** Name -> text, as a list. */
export function facts(pairs: [string, string | Node | null][]): HTMLElement {
  return h(
    "dl",
    { class: "facts" },
    pairs
      .filter(([, text]) => text !== null && text !== "")
      .map(([name, text]) => h("div", null, h("dt", null, name), h("dd", null, text))),
  );
}

/** The comparison of two runs, whichever way round it is stored. */
export function pairOf(task: TaskSummary, first: number, second: number): Pair | null {
  const [a, b] = first < second ? [first, second] : [second, first];
  return task.pairs.find((pair) => pair.first === a && pair.second === b) ?? null;
}
