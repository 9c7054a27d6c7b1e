/* A labelling sheet: one response at a time, labels by button or key, kept in this browser. */

import { askedPanel, shownText } from "../asked";
import { h, say, section, toggle } from "../dom";
import { count } from "../format";
import { filledIn, Given } from "../labels";
import { oneLine } from "../plain";
import { formatted, setFormatted } from "../preferences";
import { responseText } from "../response";
import { rewrite } from "../route";
import { LABELS, type Label, type LabelItem, type LabelSheet } from "../types";
import type { View } from "../view";

const WORDS: Record<(typeof LABELS)[number], string> = {
  correct: "Right",
  incorrect: "Wrong",
  unclear: "Unclear",
};
const PARTS = ["response", "reader's answer"];
const KEYS: [string[], string][] = [
  [["1", "2", "3"], "the response is right, wrong, unclear"],
  [["4", "5", "6"], "the reader's answer is right, wrong, unclear"],
  [["0"], "take the labels of this response back"],
  [["j", "→"], "next response"],
  [["k", "←"], "previous response"],
  [["n"], "next response without a label"],
  [["m"], "texts formatted, or as they are"],
  [["t"], "switch the theme"],
  [["?"], "this help"],
];

let given: Given | null = null;

export function labelPage(sheet: LabelSheet, refresh: () => void): View {
  given ??= new Given(sheet);
  const page = new LabelPage(sheet, given, refresh);
  const keys: Record<string, () => void> = {
    j: () => page.go(page.at + 1),
    ArrowRight: () => page.go(page.at + 1),
    k: () => page.go(page.at - 1),
    ArrowLeft: () => page.go(page.at - 1),
    n: () => page.next(),
    m: () => page.flipFormat(),
    "0": () => page.clear(),
  };
  LABELS.forEach((label, i) => {
    keys[String(i + 1)] = () => page.label(0, label);
    keys[String(i + 4)] = () => page.label(1, label);
  });
  return {
    title: `${count(page.at + 1)} of ${count(sheet.items.length)}`,
    crumbs: [],
    element: page.element,
    keys,
    keyNames: KEYS,
    closed: () => page.closed(),
  };
}

class LabelPage {
  readonly at: number;
  readonly element: HTMLElement;
  private readonly item: LabelItem;
  private readonly buttons: HTMLButtonElement[][] = [];
  private readonly bar = h("progress", { "aria-label": "Labelled" });
  private readonly done = h("span", { class: "done", role: "status" });
  private readonly notKept = h("p", { class: "notice", hidden: true },
    "This browser keeps nothing for pages from disk: download the sheet before you close the page.");
  private readonly heard = (event: StorageEvent): void => {
    if (event.key !== null && event.key !== this.given.name) return;
    this.given.reload();
    this.show();
  };

  constructor(
    private readonly sheet: LabelSheet,
    private readonly given: Given,
    private readonly refresh: () => void,
  ) {
    const asked = Number(location.hash.slice(1));
    this.at = sheet.items[asked - 1] ? asked - 1 : Math.max(0, given.open(0));
    this.item = sheet.items[this.at]!;
    addEventListener("storage", this.heard); // another window labels the same sheet
    this.element = h(
      "div",
      { class: "page sample-page label-page" },
      this.header(),
      h("div", { class: "columns" }, h("div", { class: "asked" }, askedPanel(this.item)), this.answers()),
    );
    this.show();
  }

  closed(): void {
    removeEventListener("storage", this.heard);
  }

  private header(): HTMLElement {
    const { at, sheet } = this;
    const step = (to: number, text: string, name: string): HTMLElement =>
      sheet.items[to]
        ? h("a", { class: "step", href: `#${to + 1}`, "aria-label": name, title: name }, text)
        : h("span", { class: "step off", "aria-hidden": "true" }, text);
    return h(
      "header",
      { class: "head" },
      h(
        "div",
        { class: "walk" },
        step(at - 1, "←", "Previous response (k)"),
        step(at + 1, "→", "Next response (j)"),
        h("button", { type: "button", onclick: () => this.next() }, "Next without a label"),
        h("span", { class: "grow" }),
        toggle(formatted(), { onclick: () => this.flipFormat() }, "Formatted"),
        h("button", { type: "button", class: "download", onclick: () => this.download() }, "Download the sheet"),
      ),
      h("div", { class: "walk" }, this.bar, this.done),
      h("h1", { tabindex: "-1" }, `Response ${count(at + 1)} of ${count(sheet.items.length)}`),
      this.notKept,
      sheet.notices.map((text) => h("p", { class: "notice" }, oneLine(text, 500))),
    );
  }

  private answers(): HTMLElement {
    const { response, reading } = this.item;
    return h(
      "div",
      { class: "answers" },
      section(
        "Response",
        { class: "run" },
        this.choices(0, "Is the final answer right?"),
        cut(response.finish_reason),
        responseText(response.text, response.pieces, null),
      ),
      reading &&
        section(
          "The reader's answer",
          { class: "run" },
          h("p", { class: "muted" }, "Given the question and this description, without the image:"),
          h("details", { open: true }, h("summary", null, "Description"), shownText(reading.description ?? "")),
          this.choices(1, "Is the reader's answer right?"),
          cut(reading.finish_reason),
          responseText(reading.text ?? "", reading.pieces, null),
        ),
    );
  }

  private choices(part: number, question: string): HTMLElement {
    this.buttons[part] = LABELS.map((label, i) => {
      const key = String(1 + i + 3 * part);
      return toggle(
        false,
        { class: label, "data-label": `${part}-${label}`, "aria-keyshortcuts": key, onclick: () => this.label(part, label) },
        WORDS[label],
        h("kbd", { "aria-hidden": "true" }, key),
      );
    });
    return h(
      "div",
      { class: "labels", role: "group", "aria-label": question },
      h("span", { class: "label" }, question),
      this.buttons[part],
    );
  }

  /** Give a label, or take it back; what is complete leads to the next response. */
  label(part: number, label: Label): void {
    if (!this.buttons[part]) return;
    const before = this.given.of(this.item);
    const complete = this.given.complete(this.item);
    const word = before[part] === label ? "" : label;
    this.given.set(this.item, part, word);
    this.show();
    if (word) say(`${this.at + 1}, ${PARTS[part]}: ${WORDS[word].toLowerCase()}`);
    if (!complete && this.given.complete(this.item)) this.go(this.at + 1);
  }

  clear(): void {
    this.given.set(this.item, 0, "");
    this.given.set(this.item, 1, "");
    this.show();
  }

  go(to: number): void {
    if (this.sheet.items[to]) location.hash = `#${to + 1}`;
  }

  next(): void {
    const open = this.given.open(this.at + 1);
    if (open < 0) say("Every response has its labels");
    else this.go(open);
  }

  flipFormat(): void {
    setFormatted(!formatted());
    rewrite(`#${this.at + 1}`, false);
    this.refresh();
  }

  private show(): void {
    const words = this.given.of(this.item);
    this.buttons.forEach((row, part) =>
      row.forEach((button, i) => button.setAttribute("aria-pressed", String(words[part] === LABELS[i]))),
    );
    const all = this.sheet.items.length;
    const done = this.sheet.items.filter((item) => this.given.complete(item)).length;
    const unclear = this.sheet.items.filter((item) => this.given.of(item).includes("unclear")).length;
    this.bar.max = all;
    this.bar.value = done;
    this.done.textContent =
      `${count(done)} of ${count(all)} labelled` + (unclear ? `, ${count(unclear)} unclear` : "");
    this.notKept.hidden = this.given.kept;
  }

  private download(): void {
    const address = URL.createObjectURL(new Blob([filledIn(this.sheet, this.given)]));
    const link = h("a", { href: address, download: this.sheet.file });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    say(`${oneLine(this.sheet.file)}: give it to vsr1-bench calibrate --labels`);
  }
}

function cut(reason: string): HTMLElement | null {
  return reason === "length" ? h("p", { class: "notice" }, "This text was cut off at its token limit.") : null;
}
