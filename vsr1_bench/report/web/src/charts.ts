/* Small pictures as inline SVG. Their numbers always stand beside them as text. */

import { h, hidden, s } from "./dom";
import { count, percent } from "./format";
import { cellIcon, type CellCode } from "./marks";

export interface Domain {
  low: number;
  high: number;
}

/** Shorter scales would show every interval as wide. In points. */
const LEAST_SPAN = 20;

/** A range that holds the given percentages, with round ends. */
export function domainOf(values: Iterable<number | null>): Domain {
  const known = [...values].filter((v): v is number => v !== null && Number.isFinite(v));
  if (!known.length) return { low: 0, high: 100 };
  let low = Math.min(...known);
  let high = Math.max(...known);
  const more = Math.max(0, LEAST_SPAN - (high - low)) / 2;
  if (low >= 0 && high <= 100) {
    const shift = Math.max(0, more - low) - Math.max(0, high + more - 100);
    [low, high] = [Math.max(0, low - more + shift), Math.min(100, high + more + shift)];
  } else [low, high] = [low - more, high + more];
  const step = [1, 2, 5, 10, 20, 25, 50, 100].find((one) => (high - low) / one <= 6) ?? 200;
  const from = Math.floor(low / step) * step;
  const to = Math.ceil(high / step) * step;
  return { low: from, high: to > from ? to : from + step };
}

/** An interval with its value as a tick, over a domain. */
export function intervalBar(
  value: number | null,
  low: number | null,
  high: number | null,
  domain: Domain,
  kind = "",
): SVGElement {
  const place = (number: number): number =>
    Math.max(0, Math.min(100, (100 * (number - domain.low)) / (domain.high - domain.low)));
  const parts: (SVGElement | null)[] = [s("rect", { class: "track", x: 0, y: 5.5, width: 100, height: 1 })];
  if (low !== null && high !== null) {
    const from = place(low);
    parts.push(
      s("rect", { class: "range", x: from, y: 3, width: Math.max(0.8, place(high) - from), height: 6 }),
    );
  }
  if (value !== null) {
    const x = place(value);
    parts.push(s("rect", { class: "point", x: Math.max(0, Math.min(98.6, x - 0.7)), y: 0, width: 1.4, height: 12 }));
  }
  return s(
    "svg",
    {
      class: `interval ${kind}`,
      viewBox: "0 0 100 12",
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    },
    ...parts,
  );
}

export interface Field {
  code: CellCode;
  n: number;
  href: string;
}

const FIELD_TEXTS: Record<string, string> = {
  a: "described, right",
  s: "not described, right",
  b: "described, wrong",
  d: "not described, wrong",
};

/** Description sufficient × answer right: a square whose four fields are links. */
export function square(fields: Field[], label: string): HTMLElement {
  const total = fields.reduce((sum, field) => sum + field.n, 0);
  const links = fields.map(({ code, n, href }) => {
    const share = total ? n / total : 0;
    const link = h(
      "a",
      { class: `field-${code}`, href, "data-cell": code },
      h("span", { class: "share" }, percent(share, 0), h("small", null, "%")),
      h("span", { class: "n" }, count(n)),
      hidden(` ${FIELD_TEXTS[code]}`),
    );
    link.style.setProperty("--share", String(share));
    return link;
  });
  return h(
    "div",
    { class: "square", role: "group", "aria-label": label },
    h("span", { class: "corner" }),
    h("span", { class: "top" }, "sufficient"),
    h("span", { class: "top" }, "not sufficient"),
    h("span", { class: "side" }, h("span", null, "right")),
    links[0],
    links[1],
    h("span", { class: "side" }, h("span", null, "wrong")),
    links[2],
    links[3],
  );
}

/** The legend of a square: each field in words, with its number. */
export function squareLegend(fields: Field[], names: Record<string, string>): HTMLElement {
  return h(
    "ul",
    { class: "legend" },
    fields
      .filter((field) => field.n > 0 || "asbd".includes(field.code))
      .map((field) =>
        h(
          "li",
          null,
          cellIcon(field.code),
          h("a", { href: field.href }, names[field.code] ?? ""),
          h("span", { class: "n" }, count(field.n)),
        ),
      ),
  );
}

export interface Bar {
  label: string;
  values: number[];
  href?: string;
}

/** Rows of horizontal bars; several values of a row stand under each other. */
export function bars(rows: Bar[], names: string[], text: (value: number) => string): HTMLElement {
  const most = Math.max(1e-9, ...rows.flatMap((row) => row.values));
  return h(
    "table",
    { class: "bars" },
    names.length > 1
      ? h(
          "thead",
          null,
          h(
            "tr",
            null,
            h("td"),
            h("td"),
            names.map((name, i) => h("th", { scope: "col", class: `series-${i}` }, name)),
          ),
        )
      : null,
    h(
      "tbody",
      null,
      rows.map((row) =>
        h(
          "tr",
          null,
          h("th", { scope: "row" }, row.href ? h("a", { href: row.href }, row.label) : row.label),
          h(
            "td",
            { class: "bar" },
            s(
              "svg",
              { viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" },
              row.values.map((value, i) =>
                s("rect", {
                  class: `series-${i}`,
                  x: 0,
                  y: (i * 12) / row.values.length + 0.75,
                  width: (100 * value) / most,
                  height: 12 / row.values.length - 1.5,
                }),
              ),
            ),
          ),
          row.values.map((value) => h("td", { class: "number" }, text(value))),
        ),
      ),
    ),
  );
}

/** Lengths: how many in each of some 24 ranges. */
export function histogram(values: readonly number[], unit: string): HTMLElement {
  if (!values.length) return h("p", { class: "muted" }, "None recorded.");
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))]!;
  const low = sorted[0]!;
  const most99 = at(0.99);
  // One response of a million characters would leave the others one bar: the last bar holds it.
  const high = sorted.at(-1)! > 3 * most99 ? most99 : sorted.at(-1)!;
  const places = Math.min(24, Math.max(1, high - low + 1));
  const width = (high - low + 1) / places;
  const counts = new Array<number>(places).fill(0);
  for (const value of sorted) {
    const place = Math.min(places - 1, Math.floor((value - low) / width));
    counts[place] = (counts[place] ?? 0) + 1;
  }
  const most = Math.max(...counts);
  const step = 240 / places;
  return h(
    "figure",
    { class: "histogram" },
    s(
      "svg",
      { viewBox: "0 0 240 56", preserveAspectRatio: "none", "aria-hidden": "true" },
      counts.map((n, i) =>
        s("rect", {
          class: "series-0",
          x: i * step + 0.5,
          width: Math.max(0.5, step - 1),
          y: 56 - Math.max(n ? 1 : 0, (54 * n) / most),
          height: Math.max(n ? 1 : 0, (54 * n) / most),
        }),
      ),
    ),
    h(
      "figcaption",
      null,
      h("span", null, count(low)),
      h("span", null, `median ${count(at(0.5))}, 95 % below ${count(at(0.95))} ${unit}`),
      h("span", null, high < sorted.at(-1)! ? `${count(high)} to ${count(sorted.at(-1)!)}` : count(high)),
    ),
  );
}
