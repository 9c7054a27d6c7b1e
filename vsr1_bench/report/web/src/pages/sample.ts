/* One sample: what was asked, and what each chosen run made of it. */

import { loadTask } from "../data";
import { copy, h, toggle } from "../dom";
import { apply, filterQuery, mainRuns, parseFilter } from "../filter";
import { count } from "../format";
import { askedPanel } from "../asked";
import { oneLine } from "../plain";
import { formatted, setFormatted } from "../preferences";
import { responsePanel } from "../response";
import { rewrite, toSample, toTask, type Route } from "../route";
import { loadSample, searchColumns } from "../search";
import type { SampleDetail, TaskIndex, TaskSummary } from "../types";
import { commandLine, findTask, runBadge, variantLabel, type Context, type View } from "../view";
import { lastHits } from "./task";

export async function samplePage(context: Context, route: Route): Promise<View> {
  const [task] = findTask(context, route.name);
  const index = await loadTask(task.file);
  const number = findSample(index, route.sample);
  const detail = await loadSample(task, index, number);
  const page = new SamplePage(context, task, index, number, detail, route.query);
  return {
    title: `${oneLine(detail.id, 60)} · ${oneLine(task.name)}`,
    crumbs: [[oneLine(task.name), page.up]],
    element: page.element,
    keys: {
      j: () => page.go(1),
      ArrowRight: () => page.go(1),
      k: () => page.go(-1),
      ArrowLeft: () => page.go(-1),
      u: () => (location.hash = page.up),
      m: () => page.flipFormat(),
      c: () => page.copyJson(),
      "/": () => (location.hash = page.up),
    },
  };
}

function findSample(index: TaskIndex, id: string): number {
  const exact = index.ids.indexOf(id);
  if (exact >= 0) return exact;
  // An address cannot hold lone surrogates.
  const clean = index.ids.findIndex((one) => one.replace(/[\ud800-\udfff]/gu, "\ufffd") === id);
  if (clean < 0) throw new Error(`This task has no sample ${oneLine(id)}.`);
  return clean;
}

class SamplePage {
  readonly element: HTMLElement;
  readonly up: string;
  private readonly query: Record<string, string>;
  private readonly list: number[];
  private readonly place: number;
  private runs: number[];
  private readonly body = h("div", { class: "answers" });
  private readonly asked = h("div", { class: "asked" });
  private readonly format: HTMLButtonElement;

  constructor(
    private readonly context: Context,
    private readonly task: TaskSummary,
    private readonly index: TaskIndex,
    private readonly number: number,
    private readonly detail: SampleDetail,
    query: URLSearchParams,
  ) {
    const filter = parseFilter(query, task);
    this.query = filterQuery(filter, task);
    this.up = toTask(task.name, this.query);
    const chosen = (query.get("runs") ?? "").split(",").filter(Boolean).map(Number);
    this.runs = chosen.filter((run) => task.runs[run]);
    if (!this.runs.length) this.runs = [filter.run];
    this.list = apply(index, task, filter, this.hits(filter.text));
    this.place = this.list.indexOf(number);
    this.format = toggle(formatted(), { onclick: () => this.flipFormat() }, "Formatted");
    this.element = h(
      "div",
      { class: "page sample-page" },
      this.header(),
      h("div", { class: "columns" }, this.asked, this.body),
    );
    this.draw();
  }

  private hits(text: string): Uint8Array | null {
    if (!text) return null;
    return lastHits.key === `${this.task.file} ${text}` ? lastHits.hits : searchColumns(this.index, text);
  }

  private header(): HTMLElement {
    const { list, place } = this;
    const step = (by: number, text: string, name: string): HTMLElement => {
      const to = list[place + by];
      return to === undefined || place < 0
        ? h("span", { class: "step off", "aria-hidden": "true" }, text)
        : h("a", { class: "step", href: this.address(to), "aria-label": name, title: name }, text);
    };
    return h(
      "header",
      { class: "head" },
      h(
        "div",
        { class: "walk" },
        step(-1, "←", "Previous sample (k)"),
        step(1, "→", "Next sample (j)"),
        h(
          "span",
          { class: "muted" },
          place < 0 ? "not in the filtered list" : `${count(place + 1)} of ${count(list.length)}`,
        ),
        h("span", { class: "grow" }),
        this.format,
        h("button", { type: "button", onclick: () => this.copyJson() }, "Copy as JSON"),
      ),
      h("h1", { tabindex: "-1" }, oneLine(this.detail.id, 120)),
      this.runTabs(),
    );
  }

  private runTabs(): HTMLElement | null {
    if (this.task.runs.length < 2) return null;
    const mains = mainRuns(this.task);
    return h(
      "div",
      { class: "tabs", role: "group", "aria-label": "Runs shown" },
      this.task.runs.map((run, i) =>
        toggle(
          this.runs.includes(i),
          {
            "data-run": i,
            onclick: (event) => this.flipRun(i, event.currentTarget as HTMLElement),
          },
          runBadge(i),
          oneLine(run.label, 80),
          mains.includes(i) ? null : h("span", { class: "tag" }, variantLabel(run.variant)),
        ),
      ),
    );
  }

  private flipRun(run: number, button: HTMLElement): void {
    const on = !this.runs.includes(run);
    const runs = on ? [...this.runs, run].sort((a, b) => a - b) : this.runs.filter((one) => one !== run);
    if (!runs.length) return;
    this.runs = runs;
    button.setAttribute("aria-pressed", String(on));
    rewrite(this.address(this.number), false);
    this.context.refresh();
  }

  private address(sample: number): string {
    const one = this.runs.length === 1;
    return toSample(this.task.name, this.index.ids[sample]!, {
      ...this.query,
      ...(one ? { run: this.runs[0]! } : { runs: this.runs.join(",") }),
    });
  }

  go(by: number): void {
    const to = this.list[this.place + by];
    if (this.place >= 0 && to !== undefined) location.hash = this.address(to);
  }

  flipFormat(): void {
    setFormatted(!formatted());
    this.format.setAttribute("aria-pressed", String(formatted()));
    this.draw();
  }

  copyJson(): void {
    const { runs, ...asked } = this.detail;
    const document = {
      task: this.task.name,
      ...asked,
      runs: this.runs.map((run) => ({ run: this.task.runs[run]!.label, ...runs[run] })),
    };
    void copy(JSON.stringify(document, null, 2), "JSON");
  }

  private draw(): void {
    const { task, detail } = this;
    this.asked.replaceChildren(...askedPanel(detail));
    this.body.classList.toggle("several", this.runs.length > 1);
    this.body.replaceChildren(
      ...this.runs.map((run) => {
        const found = detail.runs[run] ?? null;
        return h(
          "article",
          { class: "run", "aria-label": oneLine(task.runs[run]!.label) },
          h("h2", null, task.runs.length > 1 ? runBadge(run) : null, oneLine(task.runs[run]!.label)),
          found === null
            ? h("p", { class: "muted" }, "This run did not ask this sample.")
            : found.responses.length
              ? found.responses.map((response) => responsePanel(task, run, detail, found, response))
              : h("p", { class: "muted" }, found.left_out ?? "No response was made."),
          found?.changed
            ? h("p", { class: "notice" }, "This run asked another question or options, or had another gold answer: not compared.")
            : null,
          found?.changed ? askedPanel({ ...detail, ...found.changed, images: [] }) : null,
          found?.command
            ? h("div", { class: "again" }, h("h3", null, "Ask this sample again"), commandLine(found.command))
            : null,
        );
      }),
    );
  }
}
