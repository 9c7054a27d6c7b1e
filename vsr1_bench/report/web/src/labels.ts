/* What people say of the responses of a sheet: kept in the browser, and written into the sheet. */

import type { Label, LabelItem, LabelSheet } from "./types";
import { LABELS } from "./types";

type Pair = [Label, Label];

/** The labels of a sheet. Each change is merged into what other windows have stored meanwhile. */
export class Given {
  readonly name: string;
  /** Whether the browser keeps them. */
  kept = true;
  private own: Record<string, Pair> = {};

  constructor(private readonly sheet: LabelSheet) {
    this.name = `vsr1-labels-${sheet.key}`;
    this.reload();
  }

  /** Labels of a response and of its reading: given here, or by the sheet. */
  of(item: LabelItem): Pair {
    return this.own[item.id] ?? item.given;
  }

  set(item: LabelItem, part: number, label: Label): void {
    this.reload();
    const pair: Pair = [...this.of(item)];
    pair[part] = label;
    this.own[item.id] = pair;
    try {
      localStorage.setItem(this.name, JSON.stringify(this.own));
    } catch {
      this.kept = false;
    }
  }

  complete(item: LabelItem): boolean {
    const [answer, reading] = this.of(item);
    return answer !== "" && (item.reading === null || reading !== "");
  }

  /** The first response from a place on, and then from the start, that lacks a label; -1 = none. */
  open(from: number): number {
    const { items } = this.sheet;
    const order = [...items.keys()].map((i) => (i + from) % items.length);
    return order.find((i) => !this.complete(items[i]!)) ?? -1;
  }

  /** Read what this and other windows have stored. */
  reload(): void {
    if (!this.kept) return;
    try {
      this.own = readPairs(localStorage.getItem(this.name));
    } catch {
      this.kept = false;
    }
  }
}

/* Other pages from disk may share the storage: only labels are taken. */
function readPairs(text: string | null): Record<string, Pair> {
  const found: Record<string, Pair> = {};
  let read: unknown;
  try {
    read = JSON.parse(text ?? "{}");
  } catch {
    return found;
  }
  for (const [id, pair] of Object.entries(read ?? {})) {
    if (Array.isArray(pair)) found[id] = [labelOf(pair[0]), labelOf(pair[1])];
  }
  return found;
}

function labelOf(value: unknown): Label {
  return LABELS.find((label) => label === value) ?? "";
}

/** The sheet with its labels, in the form that it came in. */
export function filledIn(sheet: LabelSheet, given: Given): string {
  const rows = sheet.rows.map((row, i) => {
    const item = sheet.items[i]!;
    const [label, reading] = given.of(item);
    return { ...row, label, ...("reading_label" in row ? { reading_label: item.reading ? reading : "" } : {}) };
  });
  if (sheet.lines) return rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  const names = Object.keys(rows[0] ?? {});
  const lines = [names, ...rows.map((row) => names.map((name) => (row as Record<string, unknown>)[name]))];
  // Without the mark, spreadsheets do not read the file as UTF-8.
  return `\ufeff${lines.map((line) => line.map(cell).join(",")).join("\r\n")}\r\n`;
}

function cell(value: unknown): string {
  const text = String(value ?? "");
  return /[",;\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
