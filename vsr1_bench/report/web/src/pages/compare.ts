/* Two or more runs side by side: the paired numbers, then the samples on which they differ. */

import { domainOf, intervalBar } from "../charts";
import { loadTask } from "../data";
import { h, section, toggle } from "../dom";
import { apply, parseFilter, shares, type Filter } from "../filter";
import { count, percent, plural, points, pValue } from "../format";
import { VirtualList } from "../list";
import { oneLine } from "../plain";
import { rewrite, toCompare, type Route } from "../route";
import { narrow, sampleRow } from "../samplerow";
import type { Pair, TaskIndex, TaskSummary } from "../types";
import { toTask } from "../route";
import { findTask, letter, pairOf, runBadge, variantLabel, type Context, type View } from "../view";

export async function comparePage(context: Context, route: Route): Promise<View> {
  const [task] = findTask(context, route.name);
  const index = await loadTask(task.file);
  const page = new ComparePage(context, task, index, route.query);
  return {
    title: `Side by side · ${oneLine(task.name)}`,
    crumbs: [[oneLine(task.name), toTask(task.name)]],
    element: page.element,
    keys: {
      j: () => page.list.move(1),
      ArrowDown: () => page.list.move(1),
      k: () => page.list.move(-1),
      ArrowUp: () => page.list.move(-1),
      u: () => (location.hash = toTask(task.name)),
    },
    scrolled: () => page.list.draw(),
    printed: (on) => page.list.print(on),
  };
}

class ComparePage {
  readonly element: HTMLElement;
  readonly list: VirtualList;
  private readonly runs: number[];
  private show: string;
  private readonly modes = h("div", { class: "tabs", role: "group", "aria-label": "Samples shown" });
  private readonly found = h("p", { class: "found", role: "status" });

  constructor(
    private readonly context: Context,
    private readonly task: TaskSummary,
    private readonly index: TaskIndex,
    query: URLSearchParams,
  ) {
    const asked = (query.get("runs") ?? "").split(",").filter(Boolean).map(Number);
    this.runs = [...new Set(asked.filter((run) => task.runs[run]))];
    this.show = query.get("show") ?? this.runs.join(",");
    this.list = new VirtualList({
      label: "Samples on which the runs differ",
      rowHeight: () => (narrow() ? 84 : 48),
      row: (sample) => {
        const chosen = { runs: this.runs.join(","), flips: this.show };
        return sampleRow(task, index, sample, chosen, this.runs);
      },
    });
    this.element = h(
      "div",
      { class: "page compare-page" },
      h(
        "header",
        { class: "head" },
        h("h1", { tabindex: "-1" }, "Side by side"),
        h("p", { class: "lead" }, oneLine(task.name)),
        this.picker(),
      ),
      this.runs.length > 1
        ? [
            section("Paired numbers", { class: "paired" }, this.pairs()),
            section(
              "Samples",
              { class: "samples" },
              h("div", { class: "bar" }, this.modes, this.found),
              this.list.element,
            ),
          ]
        : h("p", { class: "notice" }, "Choose two or more runs."),
    );
    if (this.runs.length > 1) this.draw();
  }

  private picker(): HTMLElement {
    return h(
      "div",
      { class: "tabs", role: "group", "aria-label": "Runs compared" },
      this.task.runs.map((run, i) =>
        toggle(
          this.runs.includes(i),
          {
            "data-run": i,
            onclick: () => {
              const runs = this.runs.includes(i)
                ? this.runs.filter((one) => one !== i)
                : [...this.runs, i].sort((a, b) => a - b);
              rewrite(toCompare(this.task.name, runs), true);
              this.context.refresh();
            },
          },
          runBadge(i),
          oneLine(run.label, 80),
          run.variant !== "none" ? h("span", { class: "tag" }, variantLabel(run.variant)) : null,
        ),
      ),
    );
  }

  private pairs(): HTMLElement {
    const found: HTMLElement[] = [];
    this.runs.forEach((first, i) => {
      for (const second of this.runs.slice(i + 1)) {
        const pair = pairOf(this.task, first, second);
        const [one, two] = [this.task.runs[first]!, this.task.runs[second]!];
        const blind = one.blind_of === second || two.blind_of === first;
        const why = blind
          ? "One is the blind run of the other: their difference is the gain over blind."
          : "These runs were not compared.";
        found.push(
          h(
            "article",
            { class: "card pair" },
            h("h3", null, runBadge(first), oneLine(one.label, 80)),
            h("h3", null, runBadge(second), oneLine(two.label, 80)),
            pair === null || pair.refused
              ? h("p", { class: "notice" }, oneLine(pair?.refused || why, 500))
              : this.pairBody(pair),
          ),
        );
      }
    });
    return h("div", { class: "cards" }, found);
  }

  private pairBody(pair: Pair): HTMLElement {
    const [a, b] = [letter(pair.first), letter(pair.second)];
    const ends = [pair.low, pair.high, pair.difference].map((v) => (v === null ? null : 100 * v));
    const reach = Math.max(1, ...ends.map((v) => Math.abs(v ?? 0)));
    const domain = domainOf([-reach, reach]);
    const interval = pair.low === null || pair.high === null ? "" : ` (${points(pair.low)} to ${points(pair.high)})`;
    const leftOut = Object.entries(pair.left_out).filter(([, n]) => n);
    return h(
      "div",
      { class: "body" },
      this.fourfold(pair),
      h(
        "div",
        { class: "numbers" },
        h(
          "div",
          { class: "interval-part" },
          h("p", { class: "difference" }, h("strong", null, points(pair.difference)), ` points${interval}`),
          intervalBar(
            100 * pair.difference,
            pair.low === null ? null : 100 * pair.low,
            pair.high === null ? null : 100 * pair.high,
            domain,
            "zero",
          ),
          h(
            "p",
            { class: "axis", "aria-hidden": "true" },
            h("span", null, `${a} better`),
            h("span", null, "0"),
            h("span", null, `${b} better`),
          ),
        ),
        h(
          "dl",
          { class: "facts" },
          [
            ["samples compared", count(pair.n)],
            [a, `${percent(pair.first_value)} %`],
            [b, `${percent(pair.second_value)} %`],
            [pair.test, `p ${pValue(pair.p_value)}`],
            ["adjusted (Holm)", `p ${pValue(pair.holm)}`],
            ["judge", oneLine(pair.judge)],
          ].map(([name, text]) => h("div", null, h("dt", null, name), h("dd", null, text))),
        ),
        leftOut.length
          ? h(
              "p",
              { class: "muted" },
              `Not compared: ${leftOut.map(([reason, n]) => `${count(n)} ${oneLine(reason)}`).join("; ")}.`,
            )
          : null,
      ),
    );
  }

  /** Samples that both have a verdict for. With several responses each: only one has more right. */
  private fourfold(pair: Pair): HTMLElement {
    const one = shares(this.index, pair.first);
    const two = shares(this.index, pair.second);
    const counts = { both: 0, first: 0, second: 0, none: 0 };
    one.forEach((share, i) => {
      const other = two[i]!;
      if (Number.isNaN(share) || Number.isNaN(other)) return;
      if (share > other) counts.first++;
      else if (other > share) counts.second++;
      else if (share > 0) counts.both++;
      else counts.none++;
    });
    const [a, b] = [letter(pair.first), letter(pair.second)];
    const row = (name: string, n: number, show: string | null): HTMLElement =>
      h(
        "tr",
        null,
        h("th", { scope: "row" }, name),
        h(
          "td",
          { class: "number" },
          show
            ? h("a", { href: toCompare(this.task.name, this.runs, new URLSearchParams({ show })) }, count(n))
            : count(n),
        ),
      );
    return h(
      "table",
      { class: "fourfold" },
      h("caption", { class: "sr" }, "Samples by which run is right"),
      h(
        "tbody",
        null,
        row(`only ${b} right`, counts.second, `${pair.second}>${pair.first}`),
        row(`only ${a} right`, counts.first, `${pair.first}>${pair.second}`),
        row("both right", counts.both, null),
        row("both wrong", counts.none, null),
      ),
    );
  }

  private draw(): void {
    const { runs, task, index } = this;
    const [first, second] = [runs[0]!, runs[1]!];
    const choices: [string, string][] = [[runs.join(","), "All flips"]];
    if (runs.length === 2) {
      choices.push([`${second}>${first}`, `Only ${letter(second)} right`]);
      choices.push([`${first}>${second}`, `Only ${letter(first)} right`]);
    } else if (this.show.includes(">")) {
      choices.push([this.show, this.show.split(">").map((run) => letter(Number(run))).join(" better than ")]);
    }
    choices.push(["all", "All samples"]);
    this.modes.replaceChildren(
      ...choices.map(([show, text]) =>
        toggle(
          show === this.show,
          {
            "data-show": show,
            onclick: () => {
              this.show = show;
              rewrite(toCompare(task.name, runs, new URLSearchParams({ show })), true);
              this.draw();
            },
          },
          text,
        ),
      ),
    );
    const filter: Filter = {
      ...parseFilter(new URLSearchParams(), task),
      sort: "disagreement",
      flips: this.show === "all" ? "" : this.show,
    };
    const samples = apply(index, task, filter, null);
    this.list.show(samples);
    this.found.textContent = `${count(samples.length)} of ${plural(index.ids.length, "sample")}`;
  }
}
