/* A sample in a list: its question, and what each run made of it. */

import { h } from "./dom";
import { mainRuns, perSample, shares } from "./filter";
import { CELL_NAMES, cellIcon, tag, verdictIcon, type CellCode } from "./marks";
import { oneLine } from "./plain";
import { toSample } from "./route";
import { FLAGS, type TaskIndex, type TaskSummary } from "./types";
import { runBadge } from "./view";

const MOST_RUNS = 4;
const IMAGE = /^images\/[\w.-]+$/;
const media = matchMedia("(max-width: 700px)");

/** Whether the page is as narrow as a phone. */
export const narrow = (): boolean => media.matches;

/** Only images of the report are shown. */
export function imagePath(path: string | null | undefined): string | null {
  return path && IMAGE.test(path) ? path : null;
}

/** The runs that a row shows: the chosen one, and those that are not blind. */
export function runsShown(task: TaskSummary, run: number): number[] {
  const mains = mainRuns(task);
  return mains.includes(run) ? mains : [run, ...mains];
}

/** @param query Of the address of the sample. */
export function sampleRow(
  task: TaskSummary,
  index: TaskIndex,
  sample: number,
  query: Record<string, string>,
  runs: readonly number[],
): HTMLAnchorElement {
  const thumb = imagePath(index.thumbs?.[sample]);
  const gold = index.golds[sample];
  const shown = runs.slice(0, MOST_RUNS);
  const link = h(
    "a",
    { class: "sample", href: toSample(task.name, index.ids[sample]!, query) },
    index.thumbs
      ? h("span", { class: "thumb" }, thumb ? h("img", { src: thumb, alt: "", loading: "lazy" }) : null)
      : null,
    h(
      "span",
      { class: "what" },
      h("span", { class: "id" }, oneLine(index.ids[sample]!, 60)),
      h("span", { class: "title" }, oneLine(index.titles[sample] ?? "", 100)),
    ),
    h("span", { class: "gold" }, gold === null ? "" : [h("small", null, "gold "), oneLine(gold ?? "", 24)]),
    h(
      "span",
      { class: "runs" },
      shown.map((one) => outcome(task, index, sample, one)),
    ),
  );
  link.style.setProperty("--runs", String(shown.length));
  return link;
}

function outcome(task: TaskSummary, index: TaskIndex, sample: number, run: number): HTMLElement {
  const columns = index.runs[run]!;
  const n = perSample(index, run);
  const at = sample * n;
  const badge = task.runs.length > 1 ? runBadge(run) : null;
  if (n > 1) {
    const share = shares(index, run)[sample]!;
    const code = Number.isNaN(share) ? "u" : share === 1 ? "c" : share === 0 ? "i" : "g";
    const right = Number.isNaN(share) ? "" : `${Math.round(share * n * 100) / 100}/${n}`;
    return h("span", { class: "outcome" }, badge, verdictIcon(code, `${right} right`), h("span", { class: "answer" }, right));
  }
  const cell = columns.cell ? columns.cell[at]! : "";
  const flags = columns.flags[at]!;
  return h(
    "span",
    { class: "outcome" },
    badge,
    verdictIcon(columns.verdict[at]!),
    cell && cell in CELL_NAMES ? cellIcon(cell as CellCode) : null,
    h("span", { class: "answer" }, oneLine(columns.answer.values[columns.answer.codes[at]!] ?? "", 24)),
    flags & FLAGS.truncated ? tag("cut", "", "truncated") : null,
    flags & FLAGS.unparsed ? tag("?", "", "unparsed") : null,
    flags & FLAGS.blind_right ? tag("blind", "", "right when blind") : null,
    flags & FLAGS.disagree ? tag("judges", "", "judges disagree") : null,
  );
}
