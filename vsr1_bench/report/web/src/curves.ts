/* Curves of a training run: one panel per group of metrics, zoomed together. */

import { h, s } from "./dom";
import { short } from "./format";
import { oneLine } from "./plain";

const WIDTH = 360;
const HEIGHT = 150;
const LEFT = 46;
const BOTTOM = 18;
const TOP = 6;
const RIGHT = 6;
const MOST_LINES = 6;

export interface Range {
  from: number;
  to: number;
}

export interface Panel {
  title: string;
  metrics: string[];
  logarithmic: boolean;
}

/** Panels of curves; dragging over one zooms all of them. */
export class Curves {
  readonly element = h("div", { class: "curves" });
  private range: Range;

  constructor(
    private readonly steps: number[],
    private readonly metrics: Record<string, (number | null)[]>,
    private readonly panels: Panel[],
    private readonly zoomed: (range: Range) => void,
  ) {
    this.range = this.whole();
    this.draw();
  }

  whole(): Range {
    return { from: this.steps[0] ?? 0, to: this.steps.at(-1) ?? 1 };
  }

  show(range: Range): void {
    this.range = range.to > range.from ? range : this.whole();
    this.draw();
    this.zoomed(this.range);
  }

  private draw(): void {
    this.element.replaceChildren(...this.panels.map((panel) => this.panel(panel)));
  }

  private panel(panel: Panel): HTMLElement {
    const names = panel.metrics.slice(0, MOST_LINES).filter((name) => this.metrics[name]);
    const readings = names.map(() => h("span", { class: "reading" }));
    const picture = new Picture(this.steps, names.map((name) => this.metrics[name]!), this.range, panel.logarithmic);
    const read = (place: number): void => {
      names.forEach((name, i) => (readings[i]!.textContent = short(this.metrics[name]![place] ?? null)));
      step.textContent = place >= 0 ? `step ${this.steps[place]}` : "";
    };
    const step = h("span", { class: "muted" });
    picture.listen(read, (range) => this.show(range));
    read(this.lastIn());
    return h(
      "figure",
      { class: "panel curve" },
      h("figcaption", null, h("h3", null, oneLine(panel.title)), step),
      picture.element,
      h(
        "ul",
        { class: "keys" },
        names.map((name, i) =>
          h(
            "li",
            null,
            s(
              "svg",
              { viewBox: "0 0 18 8", width: 18, height: 8, "aria-hidden": "true" },
              s("path", { class: `line line-${i}`, d: "M0 4H18" }),
            ),
            h("span", null, oneLine(name)),
            readings[i]!,
          ),
        ),
      ),
      panel.metrics.length > MOST_LINES
        ? h("p", { class: "muted" }, `${panel.metrics.length - MOST_LINES} more are not drawn.`)
        : null,
    );
  }

  private lastIn(): number {
    let last = -1;
    this.steps.forEach((step, i) => {
      if (step <= this.range.to) last = i;
    });
    return last;
  }
}

class Picture {
  readonly element: SVGElement;
  private readonly cursor: SVGElement;
  private readonly brush: SVGElement;

  constructor(
    private readonly steps: number[],
    lines: (number | null)[][],
    private readonly range: Range,
    logarithmic: boolean,
  ) {
    const inside = steps.map((step) => step >= range.from && step <= range.to);
    const values = lines.flatMap((line) =>
      line.filter((v, i): v is number => v !== null && inside[i]! && Number.isFinite(v) && (!logarithmic || v > 0)),
    );
    const scale = scaleOf(values, logarithmic);
    this.cursor = s("path", { class: "cursor", d: "" });
    this.brush = s("rect", { class: "brush", x: 0, y: TOP, width: 0, height: HEIGHT - TOP - BOTTOM });
    this.element = s(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "lines", "aria-hidden": "true" },
      scale.ticks.map((value) => {
        const y = scale.place(value);
        return [
          s("path", { class: "grid", d: `M${LEFT} ${y}H${WIDTH - RIGHT}` }),
          s("text", { x: LEFT - 6, y: y + 3.5, "text-anchor": "end" }, short(value)),
        ];
      }),
      s("text", { x: LEFT, y: HEIGHT - 4 }, String(range.from)),
      s("text", { x: WIDTH - RIGHT, y: HEIGHT - 4, "text-anchor": "end" }, String(range.to)),
      lines.map((line, i) => this.line(line, i, inside, scale)),
      this.brush,
      this.cursor,
    );
  }

  private x(step: number): number {
    const { from, to } = this.range;
    return LEFT + ((step - from) / Math.max(1e-9, to - from)) * (WIDTH - LEFT - RIGHT);
  }

  private line(line: (number | null)[], number: number, inside: boolean[], scale: Scale): SVGElement {
    let path = "";
    let points = 0;
    line.forEach((value, i) => {
      if (value === null || !inside[i] || !Number.isFinite(value)) return; // a metric of every tenth step is one line
      const y = scale.place(value);
      if (!Number.isFinite(y)) return;
      path += `${path ? "L" : "M"}${this.x(this.steps[i]!).toFixed(1)} ${y.toFixed(1)}`;
      points++;
    });
    if (points === 1) path += "h0.01"; // with round ends: a point
    return s("path", { class: `line line-${number}${points === 1 ? " lone" : ""}`, d: path });
  }

  /** Follow the pointer: read values, and zoom where it is dragged. */
  listen(read: (place: number) => void, zoom: (range: Range) => void): void {
    let from: number | null = null;
    const stepAt = (event: PointerEvent): number => {
      const box = this.element.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * WIDTH;
      const share = Math.max(0, Math.min(1, (x - LEFT) / (WIDTH - LEFT - RIGHT)));
      return this.range.from + share * (this.range.to - this.range.from);
    };
    this.element.addEventListener("pointermove", (event) => {
      const at = stepAt(event as PointerEvent);
      let place = 0;
      this.steps.forEach((step, i) => {
        if (Math.abs(step - at) < Math.abs(this.steps[place]! - at)) place = i;
      });
      read(place);
      this.cursor.setAttribute("d", `M${this.x(this.steps[place]!)} ${TOP}V${HEIGHT - BOTTOM}`);
      if (from !== null) {
        const [a, b] = [this.x(Math.min(from, at)), this.x(Math.max(from, at))];
        this.brush.setAttribute("x", String(a));
        this.brush.setAttribute("width", String(b - a));
      }
    });
    this.element.addEventListener("pointerdown", (event) => {
      from = stepAt(event as PointerEvent);
      this.element.setPointerCapture((event as PointerEvent).pointerId);
    });
    this.element.addEventListener("pointerup", (event) => {
      const to = stepAt(event as PointerEvent);
      if (from !== null && Math.abs(to - from) > 0.02 * (this.range.to - this.range.from)) {
        zoom({ from: Math.floor(Math.min(from, to)), to: Math.ceil(Math.max(from, to)) });
      }
      from = null;
      this.brush.setAttribute("width", "0");
    });
    this.element.addEventListener("pointerleave", () => this.cursor.setAttribute("d", ""));
  }
}

interface Scale {
  ticks: number[];
  place: (value: number) => number;
}

function scaleOf(values: number[], logarithmic: boolean): Scale {
  const room = HEIGHT - TOP - BOTTOM;
  if (!values.length) return { ticks: [], place: () => NaN };
  // Not Math.min(...values): a long training has more values than a call takes arguments.
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  if (logarithmic) {
    const [a, b] = [Math.floor(Math.log10(low)), Math.max(Math.ceil(Math.log10(high)), Math.floor(Math.log10(low)) + 1)];
    const step = Math.ceil((b - a) / 4);
    const ticks: number[] = [];
    for (let power = a; power <= b; power += step) ticks.push(10 ** power);
    return {
      ticks,
      place: (v) => (v > 0 ? TOP + room * (1 - (Math.log10(v) - a) / (b - a)) : NaN),
    };
  }
  const size = high - low || Math.abs(high) || 1;
  const rough = size / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough) ?? 10 * power;
  const from = Math.floor(low / step) * step;
  const to = Math.max(Math.ceil(high / step) * step, from + step);
  const ticks: number[] = [];
  for (let i = 0; from + i * step <= to + step / 2; i++) ticks.push(Number((from + i * step).toPrecision(6)));
  return { ticks, place: (v) => TOP + room * (1 - (v - from) / (to - from)) };
}
