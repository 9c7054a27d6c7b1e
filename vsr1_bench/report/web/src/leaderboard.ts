/* The table of the overview: intervals as bars on a scale per column, publications beside. */

import { domainOf, intervalBar, type Domain } from "./charts";
import { h, hidden } from "./dom";
import { count, fixed } from "./format";
import { oneLine } from "./plain";
import { toTask } from "./route";
import type { Overview, Table, TableCell, TableColumn, TableRow } from "./types";

interface Column {
  title: string;
  column: TableColumn | null;
  domain: Domain;
  lower: boolean;
}

/** A table whose columns sort by a click, inside a frame that scrolls sideways. */
export function leaderboard(overview: Overview): HTMLElement {
  const { table } = overview;
  const columns = columnsOf(table);
  const notes = [...new Set(table.rows.flatMap((row) => row.cells.flatMap((cell) => cell?.notes ?? [])))];
  const body = h("tbody");
  const rows = table.rows.map((row) => ({ row, element: rowOf(overview, row, columns, notes) }));
  body.append(...rows.map((one) => one.element));
  const heads = columns.map((column, i) => headOf(column, (th) => sortBy(th, i)));

  function sortBy(th: HTMLElement, column: number): void {
    const lower = columns[column]!.lower;
    const now = th.getAttribute("aria-sort");
    const up = now === null ? lower : now === "descending";
    for (const other of heads) other.removeAttribute("aria-sort");
    th.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row: TableRow): number => row.cells[column]?.value ?? NaN;
    const order = [...rows].sort((a, b) => {
      const [x, y] = [key(a.row), key(b.row)];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y));
      return up ? x - y : y - x;
    });
    body.append(...order.map((one) => one.element));
  }

  return h(
    "div",
    { class: "board" },
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Leaderboard, scrolls sideways" },
      h(
        "table",
        { class: "wide" },
        h("caption", { class: "sr" }, "Scores in percent with their 95 % intervals"),
        h("thead", null, h("tr", null, h("th", { scope: "col", class: "first" }, "Model"), heads)),
        body,
      ),
    ),
    notes.length
      ? h("ol", { class: "notes" }, notes.map((note) => h("li", null, oneLine(note, 500))))
      : null,
    table.remarks.map((remark) => h("p", { class: "muted" }, oneLine(remark, 600))),
    h(
      "p",
      { class: "muted" },
      "Values in percent; bars are 95 % intervals on the scale under each heading. Bold is the best, " +
        "underlined the second best. A hollow bar is not ranked.",
    ),
  );
}

function columnsOf(table: Table): Column[] {
  const titles = [...table.columns.map((column) => column.title), ...table.averages];
  return titles.map((title, i) => {
    const column = table.columns[i] ?? null;
    const ends = table.rows.flatMap((row) => {
      const cell = row.cells[i];
      return cell ? [cell.low ?? cell.value, cell.high ?? cell.value] : [];
    });
    return { title, column, domain: domainOf(ends), lower: column?.lower_is_better ?? false };
  });
}

function headOf(column: Column, sort: (th: HTMLElement) => void): HTMLElement {
  const th = h(
    "th",
    { scope: "col" },
    h(
      "button",
      { type: "button", onclick: () => sort(th) },
      oneLine(column.title),
      column.lower ? h("span", { title: "lower is better" }, " ↓", hidden(" lower is better")) : null,
    ),
    h(
      "span",
      { class: "axis", "aria-hidden": "true" },
      h("span", null, String(column.domain.low)),
      h("span", null, String(column.domain.high)),
    ),
  );
  return th;
}

function rowOf(overview: Overview, row: TableRow, columns: Column[], notes: string[]): HTMLElement {
  return h(
    "tr",
    { class: row.kind },
    h(
      "th",
      { scope: "row", class: "first" },
      h("span", { class: "model" }, oneLine(row.model)),
      row.setting ? h("span", { class: "setting" }, oneLine(row.setting)) : null,
      row.kind === "reported" ? h("span", { class: "tag" }, "published") : null,
      h("span", { class: "source" }, oneLine(row.source, 300)),
    ),
    columns.map((column, i) => cellOf(overview, row, row.cells[i] ?? null, column, notes)),
  );
}

function cellOf(
  overview: Overview,
  row: TableRow,
  cell: TableCell | null,
  column: Column,
  notes: string[],
): HTMLElement {
  const label = oneLine(column.title);
  if (!cell || cell.value === null) {
    return h("td", { class: "number empty", "data-label": label }, h("span", { class: "muted" }, "–"));
  }
  const digits = cell.digits;
  const task = column.column?.task_index ?? null;
  const value = h("span", { class: `figure ${cell.mark}` }, fixed(cell.value, digits));
  const linked =
    task !== null && cell.run !== null
      ? h("a", { href: toTask(overview.tasks[task]!.name, { run: cell.run }) }, value)
      : value;
  const marks = cell.notes.map((note) => notes.indexOf(note) + 1);
  const kind = row.kind === "reported" ? "reported" : cell.ranked ? "" : "hollow";
  return h(
    "td",
    { class: "number", "data-label": label },
    h(
      "div",
      { class: "line" },
      linked,
      cell.mark ? hidden(cell.mark === "best" ? " best" : " second best") : null,
      marks.length ? h("sup", null, hidden(" footnote "), marks.join(",")) : null,
      cell.low !== null && cell.high !== null
        ? h("span", { class: "range-text" }, `${fixed(cell.low, digits)} to ${fixed(cell.high, digits)}`)
        : null,
    ),
    intervalBar(cell.value, cell.low, cell.high, column.domain, kind),
    h(
      "div",
      { class: "detail" },
      [
        cell.n === null ? "" : `n ${count(cell.n)}`,
        cell.judge ? oneLine(cell.judge) : "",
        cell.reader ? `read by ${oneLine(cell.reader)}` : "",
      ]
        .filter(Boolean)
        .join(" · "),
    ),
  );
}
