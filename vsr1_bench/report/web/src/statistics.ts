/* Numbers of one run on one task: its square, categories, answers and lengths. */

import { bars, domainOf, histogram, square, squareLegend, type Bar } from "./charts";
import { h, select } from "./dom";
import { count, percent, points, pValue } from "./format";
import { CELL_NAMES } from "./marks";
import { oneLine } from "./plain";
import { toTask } from "./route";
import type { Score, TaskIndex, TaskSummary } from "./types";
import { facts, fieldsOf, mainJudge, metricRow, metricTable } from "./view";

const MOST_ANSWERS = 12;
const MOST_CATEGORIES = 40;

export function statistics(task: TaskSummary, index: TaskIndex, run: number): HTMLElement {
  const summary = task.runs[run]!;
  const judge = mainJudge(summary);
  const score = judge?.score ?? null;
  return h(
    "div",
    { class: "panels" },
    score ? scorePanel(task, run, score, judge?.name ?? "") : panel("Score", h("p", { class: "muted" }, "Not scored."), settings(task, run)),
    score && score.perception ? seeingPanel(task, run, score) : null,
    score ? categoryPanel(task, run, score) : null,
    answerPanel(task, index, run),
    panel(
      "Lengths",
      h("h4", null, "Characters per response"),
      histogram(index.runs[run]!.chars.filter((n) => n >= 0), "characters"),
      h("h4", null, "Completion tokens"),
      histogram(index.runs[run]!.tokens.filter((n) => n >= 0), "tokens"),
    ),
  );
}

function panel(title: string, ...children: (Node | null)[]): HTMLElement {
  return h("section", { class: "panel", "aria-label": title }, h("h3", null, title), ...children);
}

function scorePanel(task: TaskSummary, run: number, score: Score, judge: string): HTMLElement {
  return panel(
    "Score",
    metricTable(score),
    h("p", { class: "muted" }, `Judged by ${oneLine(judge)}; ${count(score.scored)} of ${count(score.total)} responses scored.`),
    otherJudges(task, run),
    gains(score),
    settings(task, run),
  );
}

function otherJudges(task: TaskSummary, run: number): HTMLElement | null {
  const others = task.runs[run]!.judges.slice(1).filter((judge) => judge.score);
  if (!others.length) return null;
  return h(
    "table",
    { class: "metrics" },
    h("caption", null, "Other judges"),
    h(
      "tbody",
      null,
      others.map((judge) => {
        const found = judge.score!.metrics.find(([name]) => name === judge.score!.headline);
        return found ? metricRow(oneLine(judge.name), found[1], domainOf([0, 100])) : null;
      }),
    ),
  );
}

function gains(score: Score): HTMLElement | null {
  const found = Object.entries(score.blind);
  if (!found.length) return null;
  return h(
    "ul",
    { class: "gains" },
    found.map(([variant, part]) =>
      h(
        "li",
        null,
        `Blind (${variant}), ${count(part.n)} samples: ${percent(part.accuracy.value)} % with the image, ` +
          `${percent(part.blind_accuracy.value)} % without, gain ${points(part.gain.value)} points, p ${pValue(part.p_value)}`,
      ),
    ),
  );
}

function seeingPanel(task: TaskSummary, run: number, score: Score): HTMLElement {
  const fields = fieldsOf(task, run, score);
  const seen = score.perception!;
  return panel(
    "Seeing or guessing",
    square(fields, "Description sufficient, answer right"),
    squareLegend(fields, CELL_NAMES),
    h("p", { class: "muted" }, `Read by ${oneLine(seen.reader)}. ${count(seen.cut_readings)} readings were truncated.`),
  );
}

function categoryPanel(task: TaskSummary, run: number, score: Score): HTMLElement | null {
  const names = Object.keys(score.by).filter((name) => {
    const size = score.by[name]!.length;
    return size > 0 && size <= MOST_CATEGORIES;
  });
  if (!names.length) return null;
  const box = h("div");
  const draw = (name: string): void => {
    const rows = score.by[name]!;
    const domain = domainOf(
      rows.flatMap(([, value]) => [value.low, value.high].map((v) => (v === null ? null : 100 * v))),
    );
    box.replaceChildren(
      h(
        "table",
        { class: "metrics" },
        h("caption", { class: "sr" }, `Accuracy by ${name}, percent, with 95 % intervals`),
        h(
          "tbody",
          null,
          rows.map(([group, value]) =>
            metricRow(
              h(
                "a",
                { href: toTask(task.name, { run, [`by.${name}`]: group }), title: `n ${value.n}` },
                oneLine(group, 60) || "(empty)",
              ),
              value,
              domain,
            ),
          ),
        ),
      ),
      h(
        "p",
        { class: "muted scale" },
        `Scale from ${domain.low} to ${domain.high} %.`,
      ),
    );
  };
  draw(names[0]!);
  return panel(
    "Accuracy by category",
    names.length > 1
      ? select("Category", names.map((name): [string, string] => [name, oneLine(name)]), names[0]!, draw)
      : h("p", { class: "muted" }, oneLine(names[0]!)),
    box,
  );
}

/** How often each answer was given, beside how often it is right. */
function answerPanel(task: TaskSummary, index: TaskIndex, run: number): HTMLElement {
  const { values, codes } = index.runs[run]!.answer;
  const given = new Map<string, number>();
  let unread = 0;
  for (const code of codes) {
    if (code < 0) unread++;
    else given.set(values[code]!, (given.get(values[code]!) ?? 0) + 1);
  }
  const gold = new Map<string, number>();
  for (const answer of index.golds) if (answer !== null) gold.set(answer, (gold.get(answer) ?? 0) + 1);
  const shown = [...new Set([...gold.keys(), ...given.keys()])]
    .sort((a, b) => (given.get(b) ?? 0) + (gold.get(b) ?? 0) - (given.get(a) ?? 0) - (gold.get(a) ?? 0))
    .slice(0, MOST_ANSWERS)
    .sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  const answered = [...given.values()].reduce((sum, n) => sum + n, 0);
  const golds = [...gold.values()].reduce((sum, n) => sum + n, 0);
  const rows = shown.map((answer): Bar => ({
    label: oneLine(answer, 24) || "(empty)",
    values: [
      (given.get(answer) ?? 0) / Math.max(1, answered),
      ...(golds ? [(gold.get(answer) ?? 0) / golds] : []),
    ],
  }));
  return panel(
    task.answer_type === "choice" ? "Answer letters" : "Answers",
    rows.length
      ? bars(rows, golds ? ["given", "gold"] : ["given"], (share) => percent(share))
      : h("p", { class: "muted" }, "No answer was read."),
    h(
      "p",
      { class: "muted" },
      `Percent of ${count(answered)} read answers${golds ? " and of the gold answers" : ""}.` +
        (unread ? ` ${count(unread)} responses have none.` : "") +
        (given.size > MOST_ANSWERS ? ` The ${MOST_ANSWERS} commonest of ${count(given.size)}.` : ""),
    ),
  );
}

function settings(task: TaskSummary, run: number): HTMLElement {
  const summary = task.runs[run]!;
  return h(
    "details",
    null,
    h("summary", null, "Prompt and settings"),
    facts([
      ["folder", oneLine(summary.folder)],
      ["prompt", `${summary.prompt.format} ${summary.prompt.hash}`],
      ["system", summary.prompt.system],
      ...summary.settings.map(([name, text]): [string, string] => [name, oneLine(text, 300)]),
    ]),
  );
}

