/* A training run: curves, and the rollouts of a step in their groups. */

import { chunkOf, loadTrain, loadTrainChunk } from "../data";
import { Curves } from "../curves";
import { h, section, select } from "../dom";
import { count, plural, short } from "../format";
import { tag } from "../marks";
import { oneLine } from "../plain";
import { responseText } from "../response";
import { shownText } from "../asked";
import { rewrite, toTrain, type Route } from "../route";
import { groupPanel } from "../rollouts";
import type { StepDetail, TrainIndex, TrainSummary } from "../types";
import { facts, type Context, type View } from "../view";

export async function trainPage(context: Context, route: Route): Promise<View> {
  const number = Number(route.name);
  const summary = context.overview.trainings[number];
  if (!summary) throw new Error(`This report has no training run ${oneLine(route.name)}.`);
  const index = await loadTrain(summary.file);
  const page = new TrainPage(summary, number, index, route.query);
  await page.drawStep();
  return {
    title: `Training · ${oneLine(summary.folder)}`,
    crumbs: [],
    element: page.element,
    keys: {
      j: () => page.move(1),
      ArrowRight: () => page.move(1),
      k: () => page.move(-1),
      ArrowLeft: () => page.move(-1),
    },
  };
}

class TrainPage {
  readonly element: HTMLElement;
  private readonly rollouts = h("div", { class: "rollouts" });
  private readonly steps: number[];
  private step: number;

  constructor(
    private readonly summary: TrainSummary,
    private readonly number: number,
    private readonly index: TrainIndex,
    query: URLSearchParams,
  ) {
    this.steps = index.rollouts.map((one) => one.step);
    const asked = Number(query.get("step") ?? NaN);
    this.step = this.steps.includes(asked) ? asked : (this.steps.at(-1) ?? -1);
    this.element = h(
      "div",
      { class: "page train-page" },
      h(
        "header",
        { class: "head" },
        h("h1", { tabindex: "-1" }, oneLine(summary.folder)),
        h(
          "p",
          { class: "lead" },
          [summary.kind, summary.objective, oneLine(summary.model), plural(summary.steps, "step")]
            .filter(Boolean)
            .join(" · "),
        ),
        index.notices.length
          ? h("ul", { class: "notices" }, index.notices.map((text) => h("li", null, oneLine(text, 500))))
          : null,
        h(
          "details",
          null,
          h("summary", null, "Recipe"),
          facts(index.recipe.map(([name, text]): [string, string] => [oneLine(name), oneLine(text, 300)])),
        ),
      ),
      this.curves(),
      this.steps.length ? section("Rollouts", { class: "steps" }, this.rollouts) : null,
    );
  }

  private curves(): HTMLElement {
    const { index } = this;
    const from = h("input", { type: "number", "aria-label": "First step shown", class: "short" });
    const to = h("input", { type: "number", "aria-label": "Last step shown", class: "short" });
    const shown = (range: { from: number; to: number }): void => {
      from.value = String(range.from);
      to.value = String(range.to);
    };
    const curves = new Curves(index.steps, index.metrics, index.panels, shown);
    shown(curves.whole());
    const change = (): void => curves.show({ from: Number(from.value), to: Number(to.value) });
    from.addEventListener("change", change);
    to.addEventListener("change", change);
    return section(
      "Curves",
      { class: "curves-section" },
      h(
        "div",
        { class: "tools" },
        h("span", { class: "label" }, "Steps"),
        from,
        h("span", { class: "muted" }, "to"),
        to,
        h("button", { type: "button", onclick: () => curves.show(curves.whole()) }, "All"),
        h("span", { class: "muted hint" }, "Drag over a panel to zoom."),
      ),
      curves.element,
    );
  }

  move(by: number): void {
    const place = this.steps.indexOf(this.step) + by;
    const to = this.steps[place];
    if (to !== undefined) this.choose(to);
  }

  private choose(step: number): void {
    this.step = step;
    rewrite(toTrain(this.number, { step }), true);
    void this.drawStep();
  }

  async drawStep(): Promise<void> {
    const place = this.steps.indexOf(this.step);
    if (place < 0) return;
    const number = chunkOf(this.index.chunks, place);
    const chunk = await loadTrainChunk(this.summary.file, number);
    const detail = chunk.steps[place - chunk.first];
    if (!detail || detail.step !== this.step) return; // another step was chosen meanwhile
    this.rollouts.replaceChildren(this.stepHead(place), ...this.groups(detail));
  }

  private stepHead(place: number): HTMLElement {
    const about = this.index.rollouts[place]!;
    const button = (by: number, text: string, name: string): HTMLElement =>
      h(
        "button",
        {
          type: "button",
          class: "step",
          "aria-label": name,
          disabled: this.steps[place + by] === undefined,
          onclick: () => this.move(by),
        },
        text,
      );
    return h(
      "div",
      { class: "step-head" },
      h(
        "div",
        { class: "tools" },
        button(-1, "←", "Previous step (k)"),
        button(1, "→", "Next step (j)"),
        select(
          "Step",
          this.steps.map((step): [string, string] => [String(step), String(step)]),
          String(this.step),
          (step) => this.choose(Number(step)),
        ),
        h(
          "p",
          { class: "muted" },
          `${plural(about.groups, "group")}, ${plural(about.responses, "response")}, ` +
            `mean reward ${short(about.reward_mean)}`,
        ),
      ),
      about.excluded.length
        ? h(
            "div",
            { class: "excluded" },
            h("h3", null, "Not used in the update"),
            h(
              "ul",
              null,
              about.excluded.map(([reason, n]) => h("li", null, tag(count(n)), ` ${oneLine(reason, 200)}`)),
            ),
          )
        : null,
    );
  }

  private groups(detail: StepDetail): HTMLElement[] {
    return detail.groups.map((group, i) => groupPanel(group, i, { responseText, shownText }));
  }
}
