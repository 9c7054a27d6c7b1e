/* Signs of verdicts and of the four fields: each has a shape of its own, so that colour only helps. */

import { h, hidden, s } from "./dom";
import { CELLS, VERDICTS } from "./types";

export type VerdictCode = keyof typeof VERDICTS;
export type CellCode = keyof typeof CELLS;

export const VERDICT_NAMES: Record<VerdictCode, string> = {
  c: "correct",
  i: "incorrect",
  g: "graded",
  u: "unscored",
  f: "failed",
  m: "missing",
  o: "not asked",
};

export const CELL_NAMES: Record<CellCode, string> = {
  a: "right, and its description carries it",
  s: "right, but its description does not carry it",
  b: "wrong, though its description carries it",
  d: "wrong, and its description does not carry it",
  n: "no description",
  u: "not counted: a verdict is missing",
};

const GLYPHS: Record<VerdictCode, string> = {
  c: "M4.2 8.3 7 11l4.8-5.8",
  i: "M5 5l6 6M11 5l-6 6",
  g: "M8 2.5v11",
  u: "M6 6.2a2 2 0 1 1 2.6 2c-.4.2-.6.5-.6 1M8 11.4v.4",
  f: "M8 5v4M8 11.3v.4",
  m: "M5.5 8h5",
  o: "M6.5 8h3",
};

/** The sign of a verdict, with its name for screen readers. */
export function verdictIcon(code: string, label = ""): HTMLElement {
  const known = (code in GLYPHS ? code : "m") as VerdictCode;
  const frame =
    known === "i"
      ? s("rect", { x: 1.5, y: 1.5, width: 13, height: 13, rx: 2.5 })
      : known === "f"
        ? s("path", { d: "M8 1.4 15 14.2H1Z" })
        : known === "o"
          ? null
          : s("circle", { cx: 8, cy: 8, r: 6.6 });
  return h(
    "span",
    { class: `verdict v-${known}`, title: label || VERDICTS[known] },
    s(
      "svg",
      { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" },
      frame,
      s("path", { class: "glyph", d: GLYPHS[known] }),
    ),
    hidden(label || VERDICT_NAMES[known]),
  );
}

/* Place of each field: columns are "description sufficient" and "not", rows "right" and "wrong". */
const PLACES: Record<string, [number, number]> = { a: [1, 1], s: [8.5, 1], b: [1, 8.5], d: [8.5, 8.5] };

/** A small square with one of its four fields filled. */
export function cellIcon(code: string, label = ""): HTMLElement {
  const known = (code in CELL_NAMES ? code : "u") as CellCode;
  const fields = Object.entries(PLACES).map(([name, [x, y]]) =>
    s("rect", { x, y, width: 6.5, height: 6.5, rx: 1, class: name === known ? "on" : "off" }),
  );
  return h(
    "span",
    { class: `cell cell-${known}`, title: label || CELL_NAMES[known] },
    s("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, ...fields),
    hidden(label || CELL_NAMES[known]),
  );
}

/** A mark such as "truncated". */
export function tag(text: string, kind = "", title = ""): HTMLElement {
  return h("span", { class: `tag ${kind}`, title: title || null }, text);
}
