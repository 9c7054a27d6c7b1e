/* The leaderboard, each task with its squares, what to run next. */

import { square, squareLegend } from "../charts";
import { h, section, toggle } from "../dom";
import { count, plural, short, when } from "../format";
import { leaderboard } from "../leaderboard";
import { CELL_NAMES } from "../marks";
import { oneLine } from "../plain";
import { toCompare, toTask, toTrain } from "../route";
import { FLAGS, type RunSummary, type Score, type TaskSummary, type TrainSummary } from "../types";
import { mainRuns } from "../filter";
import {
  commandLine,
  facts,
  fieldsOf,
  mainScore,
  metricTable,
  runBadge,
  type Context,
  type View,
  variantLabel,
} from "../view";

export function overviewPage(context: Context): View {
  const { overview } = context;
  const main = h(
    "div",
    { class: "page overview" },
    h("h1", { tabindex: "-1" }, oneLine(overview.title)),
    h(
      "p",
      { class: "lead" },
      `${plural(overview.tasks.length, "task")}, `,
      `${plural(overview.tasks.reduce((sum, task) => sum + task.runs.length, 0), "run")}`,
      overview.trainings.length ? `, ${plural(overview.trainings.length, "training run")}` : "",
      `. Written ${when(overview.created)} by vsr1-bench ${overview.version}.`,
    ),
    notices(overview.notices),
    overview.table.rows.length ? leaderboardSection(context) : null,
    overview.tasks.map((task) => taskSection(task)),
    overview.trainings.length ? trainings(overview.trainings) : null,
    overview.next.length ? nextSteps(context) : null,
    overview.command ? section("This report again", {}, commandLine(overview.command)) : null,
  );
  return { title: oneLine(overview.title), crumbs: [], element: main };
}

function notices(texts: string[]): HTMLElement | null {
  if (!texts.length) return null;
  return h(
    "ul",
    { class: "notices" },
    texts.map((text) => h("li", null, oneLine(text, 600))),
  );
}

function leaderboardSection(context: Context): HTMLElement {
  const table = leaderboard(context.overview);
  const button = toggle(
    false,
    {
      onclick: () => {
        const on = table.classList.toggle("detailed");
        button.setAttribute("aria-pressed", String(on));
      },
    },
    "Judge and n of each number",
  );
  return h(
    "section",
    { class: "leaderboard", "aria-labelledby": "s-leaderboard" },
    h("div", { class: "title-line" }, h("h2", { id: "s-leaderboard" }, "Leaderboard"), button),
    table,
  );
}

function taskSection(task: TaskSummary): HTMLElement {
  const mains = mainRuns(task);
  const id = `task-${task.file}`;
  return h(
    "section",
    { class: "task", "aria-labelledby": id },
    h(
      "header",
      null,
      h("h2", { id }, h("a", { href: toTask(task.name) }, oneLine(task.name))),
      h(
        "p",
        { class: "muted" },
        `${oneLine(task.description)} · ${plural(task.samples, "sample")}`,
      ),
      mains.length > 1
        ? h("a", { class: "action", href: toCompare(task.name, mains.slice(0, 2)) }, "Side by side")
        : null,
    ),
    task.runs.length
      ? h("div", { class: "cards" }, mains.map((run) => runCard(task, run)))
      : h("p", { class: "muted" }, "No run."),
  );
}

function runCard(task: TaskSummary, number: number): HTMLElement {
  const run = task.runs[number]!;
  const score = mainScore(run);
  const fields = score ? fieldsOf(task, number, score) : [];
  return h(
    "article",
    { class: "card" },
    h(
      "h3",
      null,
      runBadge(number),
      h("a", { href: toTask(task.name, { run: number }) }, oneLine(run.label)),
      run.variant !== "none" ? h("span", { class: "tag" }, variantLabel(run.variant)) : null,
    ),
    score === null
      ? h("p", { class: "muted" }, run.judges.length ? "Judged, but not scored." : "Not judged yet.")
      : h(
          "div",
          { class: "body" },
          fields.length
            ? h(
                "div",
                { class: "seeing" },
                h("p", { class: "caption" }, "Is the answer right, and is the description sufficient to reach it?"),
                square(fields, `${run.label}: description sufficient, answer right`),
                squareLegend(fields, CELL_NAMES),
              )
            : null,
          h("div", { class: "numbers" }, metricTable(score), losses(task, number, score)),
        ),
    provenance(run),
  );
}

/** How many responses are unparsed, truncated, failed or unscored, as links to them. */
function losses(task: TaskSummary, run: number, score: Score): HTMLElement {
  const unscored = score.total - score.scored;
  const item = (name: string, n: number, query: Record<string, string | number>): HTMLElement =>
    h(
      "li",
      { class: n ? "" : "none" },
      n ? h("a", { href: toTask(task.name, { run, ...query }) }, `${count(n)} ${name}`) : `0 ${name}`,
    );
  return h(
    "div",
    { class: "losses" },
    h("p", null, `${count(score.scored)} of ${plural(score.total, "response")} scored`),
    h(
      "ul",
      null,
      item("unparsed", score.unparsed, { flags: FLAGS.unparsed }),
      item("truncated", score.truncated, { flags: FLAGS.truncated }),
      item("failed", score.failed, { verdict: "f" }),
      item("unscored", unscored, { verdict: "ufm" }),
    ),
    score.unscored.length
      ? h(
          "p",
          { class: "muted" },
          score.unscored.map((one) => `${count(one.n)} × ${oneLine(one.reason)}`).join("; "),
        )
      : null,
    score.footnotes.map((note) => h("p", { class: "muted" }, oneLine(note, 400))),
  );
}

function provenance(run: RunSummary): HTMLElement {
  return facts([
    ["judge", run.judges.map((judge) => judgeText(judge.name, judge.judging?.models, judge.judging?.prompts)).join("; ") || "none"],
    ["reader", run.readers[0]?.label ?? null],
    ["prompt", `${run.prompt.format}${run.prompt.hash ? ` (${run.prompt.hash.slice(0, 8)})` : ""}`],
    ["run", when(run.created)],
  ]);
}

function judgeText(name: string, models?: string[], prompts?: string[]): string {
  const details = [...(models ?? []), ...(prompts ?? []).map((hash) => `prompt ${hash.slice(0, 8)}`)];
  return oneLine(details.length ? `${name} (${details.join(", ")})` : name, 300);
}

function trainings(all: TrainSummary[]): HTMLElement {
  return section(
    "Training",
    { class: "trainings" },
    h(
      "div",
      { class: "cards" },
      all.map((training, i) =>
        h(
          "article",
          { class: "card" },
          h("h3", null, h("a", { href: toTrain(i) }, oneLine(training.folder))),
          h(
            "p",
            { class: "muted" },
            [
              training.kind,
              training.objective,
              oneLine(training.model),
              plural(training.steps, "step"),
              training.rollouts ? plural(training.rollouts, "rollout") : "",
            ]
              .filter(Boolean)
              .join(" · "),
          ),
          h(
            "table",
            { class: "ends" },
            h(
              "thead",
              null,
              h("tr", null, h("td"), h("th", { scope: "col" }, "first"), h("th", { scope: "col" }, "last")),
            ),
            h(
              "tbody",
              null,
              training.ends.map(([name, first, last]) =>
                h(
                  "tr",
                  null,
                  h("th", { scope: "row" }, oneLine(name)),
                  h("td", { class: "number" }, short(first)),
                  h("td", { class: "number" }, short(last)),
                ),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}

function nextSteps(context: Context): HTMLElement {
  const { overview } = context;
  return section(
    "What to run next",
    { class: "next" },
    h(
      "ul",
      null,
      overview.next.map((step) => {
        const task = step.task === null ? null : overview.tasks[step.task];
        const run = task && step.run !== null ? task.runs[step.run] : null;
        return h(
          "li",
          null,
          h(
            "p",
            null,
            task ? h("strong", null, oneLine(task.name)) : null,
            run ? ` ${oneLine(run.label)}` : "",
            task ? ": " : "",
            oneLine(step.why, 400),
          ),
          step.command ? commandLine(step.command) : null,
        );
      }),
    ),
  );
}

