/* The filters of a list of samples. */

import { h, select, toggle } from "./dom";
import { FLAG_NAMES, type Counts, type Filter } from "./filter";
import { count } from "./format";
import { CELL_NAMES, cellIcon, VERDICT_NAMES, verdictIcon, type CellCode, type VerdictCode } from "./marks";
import { oneLine } from "./plain";
import { FLAGS, type TaskIndex, type TaskSummary } from "./types";

type Change = (change: Partial<Filter>) => void;

export function filterPanel(
  task: TaskSummary,
  index: TaskIndex,
  filter: Filter,
  counts: Counts,
  open: boolean,
  change: Change,
): HTMLElement {
  const active =
    filter.verdicts || filter.cells || filter.flags || Object.keys(filter.groups).length || filter.flips;
  return h(
    "details",
    { open },
    h("summary", null, "Filters", active ? h("span", { class: "dot", title: "active" }) : null),
    h(
      "div",
      { class: "groups" },
      active
        ? h(
            "button",
            {
              type: "button",
              class: "clear",
              "data-key": "clear",
              onclick: () => change({ verdicts: "", cells: "", flags: 0, groups: {}, flips: "", text: "" }),
            },
            "Clear all filters",
          )
        : null,
      filter.flips
        ? group(
            "Runs",
            toggle(
              true,
              { class: "chip", "data-key": "flips", onclick: () => change({ flips: "" }) },
              "only where runs differ",
            ),
          )
        : null,
      group("Verdict", verdicts(filter, counts, change)),
      Object.keys(counts.cells).length
        ? group("Description and answer", cells(filter, counts, change))
        : null,
      flags(filter, counts, change),
      categories(index, task, filter, change),
    ),
  );
}

function group(title: string, ...children: (Node | Node[])[]): HTMLElement {
  return h("div", { class: "group", role: "group", "aria-label": title }, h("p", { class: "label" }, title), ...children);
}

/** Add a code to a set of codes, or take it away. */
function flip(codes: string, code: string): string {
  return codes.includes(code) ? codes.replace(code, "") : codes + code;
}

function verdicts(filter: Filter, counts: Counts, change: Change): HTMLElement[] {
  return (Object.keys(VERDICT_NAMES) as VerdictCode[])
    .filter((code) => counts.verdicts[code] || filter.verdicts.includes(code))
    .map((code) =>
      toggle(
        filter.verdicts.includes(code),
        {
          class: "chip",
          "data-key": `verdict-${code}`,
          onclick: () => change({ verdicts: flip(filter.verdicts, code) }),
        },
        verdictIcon(code),
        h("span", { class: "text", "aria-hidden": "true" }, VERDICT_NAMES[code]),
        h("span", { class: "n" }, count(counts.verdicts[code] ?? 0)),
      ),
    );
}

function cells(filter: Filter, counts: Counts, change: Change): HTMLElement[] {
  return (Object.keys(CELL_NAMES) as CellCode[])
    .filter((code) => "asbd".includes(code) || counts.cells[code] || filter.cells.includes(code))
    .map((code) =>
      toggle(
        filter.cells.includes(code),
        {
          class: "chip",
          "data-key": `cell-${code}`,
          onclick: () => change({ cells: flip(filter.cells, code) }),
        },
        cellIcon(code),
        h("span", { class: "text", "aria-hidden": "true" }, CELL_NAMES[code]),
        h("span", { class: "n" }, count(counts.cells[code] ?? 0)),
      ),
    );
}

function flags(filter: Filter, counts: Counts, change: Change): HTMLElement | null {
  const found = FLAG_NAMES.filter(([name]) => counts.flags[name] || filter.flags & FLAGS[name]);
  if (!found.length) return null;
  return group(
    "Marks",
    found.map(([name, text]) =>
      toggle(
        (filter.flags & FLAGS[name]) !== 0,
        {
          class: "chip",
          "data-key": `flag-${name}`,
          onclick: () => change({ flags: filter.flags ^ FLAGS[name] }),
        },
        h("span", { class: "text" }, text),
        h("span", { class: "n" }, count(counts.flags[name] ?? 0)),
      ),
    ),
  );
}

function categories(index: TaskIndex, task: TaskSummary, filter: Filter, change: Change): HTMLElement | null {
  // A group with a category for each sample, such as the image, is no breakdown.
  const names = task.groups.filter((name) => {
    const size = index.groups[name]?.values.length ?? 0;
    return size > 1 && size <= 400;
  });
  if (!names.length) return null;
  return group(
    "Category",
    names.map((name) => {
      const values = [...index.groups[name]!.values].sort((a, b) =>
        a.localeCompare(b, undefined, { numeric: true }),
      );
      const options: [string, string][] = [
        ["\0all", "all"],
        ...values.map((value): [string, string] => [value, oneLine(value, 60) || "(empty)"]),
      ];
      return select(oneLine(name), options, filter.groups[name] ?? "\0all", (value) => {
        const groups = { ...filter.groups };
        if (value === "\0all") delete groups[name];
        else groups[name] = value;
        change({ groups });
      });
    }),
  );
}
