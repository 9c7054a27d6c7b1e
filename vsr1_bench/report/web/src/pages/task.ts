/* One task: its numbers for one run at a time, and the list of its samples with filters. */

import { loadTask } from "../data";
import { h, say, section, select } from "../dom";
import {
  apply,
  counts,
  filterQuery,
  mainRuns,
  parseFilter,
  SORTS,
  type Filter,
  type Sort,
} from "../filter";
import { filterPanel } from "../filterpanel";
import { count, plural } from "../format";
import { VirtualList } from "../list";
import { oneLine } from "../plain";
import { rewrite, toCompare, toTask, type Route } from "../route";
import { narrow, runsShown, sampleRow } from "../samplerow";
import { searchColumns, searchTexts } from "../search";
import { statistics } from "../statistics";
import type { TaskIndex, TaskSummary } from "../types";
import { facts, findTask, runBadge, variantLabel, type Context, type View } from "../view";

/** Hits of the last free-text search, so that the sample page can walk the same list. */
export const lastHits = { key: "", hits: null as Uint8Array | null };

export async function taskPage(context: Context, route: Route): Promise<View> {
  const [task] = findTask(context, route.name);
  const index = await loadTask(task.file);
  const page = new TaskPage(task, index, parseFilter(route.query, task));
  return {
    title: oneLine(task.name),
    crumbs: [],
    element: page.element,
    keys: {
      j: () => page.list.move(1),
      ArrowDown: () => page.list.move(1),
      k: () => page.list.move(-1),
      ArrowUp: () => page.list.move(-1),
      "/": () => page.search.focus(),
    },
    scrolled: () => page.list.draw(),
    printed: (on) => page.list.print(on),
    closed: () => page.abort.abort(),
  };
}

class TaskPage {
  readonly element: HTMLElement;
  readonly list: VirtualList;
  readonly search: HTMLInputElement;
  abort = new AbortController();
  private filter: Filter;
  private hits: Uint8Array | null = null;
  private typing = 0;
  private readonly runPart = h("div", { class: "run-part" });
  private readonly filterPart = h("div", { class: "filters" });
  private readonly found = h("p", { class: "found", role: "status" });
  private readonly progress = h("p", { class: "muted progress" });

  constructor(
    private readonly task: TaskSummary,
    private readonly index: TaskIndex,
    filter: Filter,
  ) {
    this.filter = filter;
    this.search = h("input", {
      type: "search",
      id: "search",
      value: filter.text,
      placeholder: "Search ids, questions, answers, responses …",
      oninput: () => this.typed(),
    });
    this.list = new VirtualList({
      label: "Samples",
      rowHeight: () => (narrow() ? 84 : 48),
      row: (sample) => {
        const { run } = this.filter;
        const query = { ...filterQuery(this.filter, task), run: String(run) };
        return sampleRow(task, index, sample, query, runsShown(task, run));
      },
    });
    this.element = h(
      "div",
      { class: "page task-page" },
      this.header(),
      this.runPart,
      section(
        "Samples",
        { class: "samples" },
        h(
          "div",
          { class: "bar" },
          h("label", { class: "search", for: "search" }, h("span", { class: "sr" }, "Search"), this.search),
          select("Order", Object.entries(SORTS), filter.sort, (sort) =>
            this.change({ sort: sort as Sort }),
          ),
          this.found,
        ),
        this.progress,
        h("div", { class: "columns" }, this.filterPart, this.list.element),
      ),
    );
    this.drawRun();
    this.find();
  }

  private header(): HTMLElement {
    const { task } = this;
    const mains = mainRuns(task);
    return h(
      "header",
      { class: "head" },
      h(
        "div",
        { class: "title-line" },
        h("h1", { tabindex: "-1" }, oneLine(task.name)),
        mains.length > 1
          ? h("a", { class: "action", href: toCompare(task.name, mains.slice(0, 2)) }, "Side by side")
          : null,
      ),
      h("p", { class: "lead" }, oneLine(task.description, 400)),
      facts([
        ["samples", count(task.samples)],
        ["answers", task.answer_type],
        ["version", task.version],
        ["license", task.license],
      ]),
    );
  }

  /** The parts that depend on the run. */
  private drawRun(): void {
    const tabs = this.task.runs.map((run, i) =>
      h(
        "button",
        {
          type: "button",
          "aria-pressed": String(i === this.filter.run),
          onclick: () => this.change({ run: i }),
        },
        runBadge(i),
        oneLine(run.label),
        run.variant !== "none" ? h("span", { class: "tag" }, variantLabel(run.variant)) : null,
      ),
    );
    this.runPart.replaceChildren(
      h("h2", { class: "sr" }, "Numbers"),
      ...(tabs.length > 1 ? [h("div", { class: "tabs", role: "group", "aria-label": "Run" }, tabs)] : []),
      statistics(this.task, this.index, this.filter.run),
    );
    this.drawFilters();
  }

  private drawFilters(): void {
    const focus = (document.activeElement as HTMLElement | null)?.dataset["key"];
    const open = this.filterPart.querySelector("details")?.open ?? !narrow();
    const known = counts(this.index, this.filter.run);
    this.filterPart.replaceChildren(
      filterPanel(this.task, this.index, this.filter, known, open, (change) => this.change(change)),
    );
    if (focus) this.filterPart.querySelector<HTMLElement>(`[data-key="${CSS.escape(focus)}"]`)?.focus();
  }

  private change(change: Partial<Filter>, push = true): void {
    const other = change.run !== undefined && change.run !== this.filter.run;
    this.filter = { ...this.filter, ...change };
    rewrite(toTask(this.task.name, filterQuery(this.filter, this.task)), push);
    if (change.text !== undefined && this.search.value !== change.text) this.search.value = change.text;
    if (other) this.drawRun();
    else this.drawFilters();
    if (change.text !== undefined) this.find();
    else this.draw();
  }

  private typed(): void {
    window.clearTimeout(this.typing);
    this.typing = window.setTimeout(() => this.change({ text: this.search.value.trim() }, false), 120);
  }

  /** Search the text: first what the list holds, then the full texts. */
  private find(): void {
    this.abort.abort();
    this.abort = new AbortController();
    const { signal } = this.abort;
    const { text } = this.filter;
    this.progress.textContent = "";
    this.hits = text ? searchColumns(this.index, text) : null;
    this.draw();
    if (!this.hits) return;
    const hits = this.hits;
    let drawn = performance.now();
    searchTexts(this.task, this.index, text, hits, signal, (done, total) => {
      this.progress.textContent = done < total ? `Searching the full texts: ${done} of ${total} parts` : "";
      if (performance.now() - drawn < 250 && done < total) return;
      this.draw();
      drawn = performance.now();
    }).catch((error: unknown) => {
      if (!signal.aborted) say(String(error));
    });
  }

  private draw(): void {
    const samples = apply(this.index, this.task, this.filter, this.hits);
    lastHits.key = `${this.task.file} ${this.filter.text}`;
    lastHits.hits = this.hits;
    this.list.show(samples);
    const all = this.index.ids.length;
    this.found.textContent =
      samples.length === all ? plural(all, "sample") : `${count(samples.length)} of ${plural(all, "sample")}`;
  }
}
