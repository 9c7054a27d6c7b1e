/* A list of any length: only the rows in view are in the page. It scrolls with the page. */

import { h } from "./dom";
import { count } from "./format";

const SPARE = 12;
const MOST_PRINTED = 500;

export interface ListOptions {
  label: string;
  /** Height of a row in pixels, by CSS too. */
  rowHeight: () => number;
  row: (entry: number) => HTMLAnchorElement;
}

export class VirtualList {
  readonly element: HTMLElement;
  private entries: readonly number[] = [];
  private shown = new Map<number, HTMLElement>();
  private selected = -1;
  private printing = false;
  private height: number;

  constructor(private readonly options: ListOptions) {
    this.element = h("div", { class: "vlist", role: "list", "aria-label": options.label });
    this.height = options.rowHeight();
  }

  /** Show these entries; the selected row stays selected if it is still there. */
  show(entries: readonly number[]): void {
    const kept = this.entries[this.selected];
    this.entries = entries;
    this.selected = kept === undefined ? -1 : entries.indexOf(kept);
    this.shown.clear();
    this.element.replaceChildren();
    this.draw();
  }

  /** Draw the rows in view; call it when the page scrolls or changes its size. */
  draw(): void {
    if (this.printing) return;
    const height = this.options.rowHeight();
    if (height !== this.height) {
      this.height = height;
      this.shown.clear();
      this.element.replaceChildren();
    }
    this.element.style.height = `${this.entries.length * height}px`;
    const top = -this.element.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / height) - SPARE);
    const below = Math.max(0, Math.ceil((top + innerHeight) / height));
    const last = Math.min(this.entries.length, below + SPARE);
    for (const [place, row] of this.shown) {
      if ((place < first || place >= last) && !row.contains(document.activeElement)) {
        row.remove();
        this.shown.delete(place);
      }
    }
    for (let place = first; place < last; place++) {
      if (!this.shown.has(place)) this.add(place);
    }
  }

  /** A printed page cannot scroll: its first rows, in the flow of the page. */
  print(on: boolean): void {
    this.printing = on;
    this.shown.clear();
    this.element.classList.toggle("printed", on);
    this.element.replaceChildren();
    if (!on) return this.draw();
    this.element.style.height = "auto";
    const most = Math.min(this.entries.length, MOST_PRINTED);
    for (let place = 0; place < most; place++) this.element.append(this.row(place));
    const more = this.entries.length - most;
    if (more) this.element.append(h("p", { class: "muted", role: "listitem" }, `${count(more)} more are not printed.`));
  }

  private row(place: number): HTMLElement {
    const row = h(
      "div",
      {
        role: "listitem",
        class: "row",
        "aria-setsize": this.entries.length,
        "aria-posinset": place + 1,
      },
      this.options.row(this.entries[place]!),
    );
    row.style.top = `${place * this.height}px`;
    row.style.height = `${this.height}px`;
    row.classList.toggle("selected", place === this.selected);
    return row;
  }

  private add(place: number): void {
    const row = this.row(place);
    row.addEventListener("focusin", () => this.mark(place));
    // The rows of the page are in the order of the list, whichever came first into view.
    const after = [...this.shown.keys()].filter((other) => other > place);
    const next = after.length ? this.shown.get(Math.min(...after)) : undefined;
    this.element.insertBefore(row, next ?? null);
    this.shown.set(place, row);
  }

  private mark(place: number): void {
    this.shown.get(this.selected)?.classList.remove("selected");
    this.selected = place;
    this.shown.get(place)?.classList.add("selected");
  }

  /** Move the selection by some rows, and the focus with it. */
  move(by: number): void {
    if (!this.entries.length) return;
    const place = Math.max(0, Math.min(this.entries.length - 1, this.selected + by));
    const top = this.element.getBoundingClientRect().top + scrollY + place * this.height;
    const room = 2 * this.height;
    if (top < scrollY + room) scrollTo({ top: top - room });
    else if (top + this.height > scrollY + innerHeight - this.height) {
      scrollTo({ top: top + 2 * this.height - innerHeight });
    }
    this.draw();
    this.mark(place);
    this.shown.get(place)?.querySelector("a")?.focus({ preventScroll: true });
  }
}
