/*
 * Show untrusted text as it is: text nodes only, invisible and direction-changing characters made
 * visible, and of a long text only the beginning, the end and what is marked.
 */

import { h } from "./dom";
import { count } from "./format";
import type { Span } from "./types";

const HEAD = 12_000;
const TAIL = 4_000;
const AROUND = 1_000;
const MORE = 50_000;

const NAMES: Record<number, string> = {
  0x061c: "ALM",
  0x200b: "ZWSP",
  0x200e: "LRM",
  0x200f: "RLM",
  0x202a: "LRE",
  0x202b: "RLE",
  0x202c: "PDF",
  0x202d: "LRO",
  0x202e: "RLO",
  0x2028: "LSEP",
  0x2029: "PSEP",
  0x2066: "LRI",
  0x2067: "RLI",
  0x2068: "FSI",
  0x2069: "PDI",
  0xfeff: "BOM",
  0xfdd0: "NUL", // what stands for it in Markdown, whose parser drops it
};
const CONTROLS =
  "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM " +
  "SUB ESC FS GS RS US";
const INVISIBLE =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufdd0\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** What stands for a character that cannot be seen. */
function visible(character: string): string {
  const code = character.charCodeAt(0);
  if (code < 0x20) return CONTROLS.split(" ")[code]!;
  return NAMES[code] ?? `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** One line for lists, titles and labels. */
export function oneLine(text: string, most = 200): string {
  const cut = text.length > most ? `${text.slice(0, most)}…` : text;
  return cut.replace(/\s+/g, " ").replace(INVISIBLE, (c) => visible(c)).trim();
}

/** The text as nodes; invisible characters become marked names. */
export function plainNodes(text: string): Node[] {
  const nodes: Node[] = [];
  let from = 0;
  for (const found of text.matchAll(INVISIBLE)) {
    if (found[0] === "\r" && text[found.index + 1] === "\n") {
      nodes.push(document.createTextNode(text.slice(from, found.index)));
    } else {
      nodes.push(document.createTextNode(text.slice(from, found.index)));
      nodes.push(h("span", { class: "invisible" }, visible(found[0])));
    }
    from = found.index + 1;
  }
  nodes.push(document.createTextNode(text.slice(from)));
  return nodes;
}

/** A text with its marked spans, exact to the character. */
export function plainText(text: string, marks: readonly Span[] = []): HTMLElement {
  const box = h("div", { class: "plain", dir: "auto" });
  for (const [start, end, shown] of parts(text.length, marks)) {
    if (shown) box.append(...markedNodes(text, start, end, marks));
    else box.append(gap(text, start, end));
  }
  return box;
}

function markedNodes(text: string, start: number, end: number, marks: readonly Span[]): Node[] {
  const nodes: Node[] = [];
  let at = start;
  for (const [from, to] of [...marks].sort((a, b) => a[0] - b[0])) {
    const first = Math.max(from, at);
    const last = Math.min(to, end);
    if (first >= last) continue;
    nodes.push(...plainNodes(text.slice(at, first)));
    nodes.push(h("mark", null, ...plainNodes(text.slice(first, last))));
    at = last;
  }
  nodes.push(...plainNodes(text.slice(at, end)));
  return nodes;
}

/** Cut a length into parts that are shown and parts that are not. */
export function parts(length: number, marks: readonly Span[]): [number, number, boolean][] {
  if (length <= HEAD + TAIL + AROUND) return [[0, length, true]];
  const shown: Span[] = [
    [0, HEAD],
    [length - TAIL, length],
    ...marks.map(([a, b]): Span => [
      Math.max(0, a - AROUND),
      Math.min(length, Math.min(b, a + MORE) + AROUND),
    ]),
  ];
  shown.sort((a, b) => a[0] - b[0]);
  const found: [number, number, boolean][] = [];
  let at = 0;
  for (const [start, end] of shown) {
    if (end <= at) continue;
    if (start > at) found.push([at, start, false]);
    found.push([Math.max(start, at), end, true]);
    at = end;
  }
  return found;
}

function gap(text: string, start: number, end: number): HTMLElement {
  const button = h(
    "button",
    {
      type: "button",
      class: "gap",
      onclick: () => {
        const to = Math.min(end, start + MORE);
        button.before(...plainNodes(text.slice(start, to)));
        if (to < end) button.before(gap(text, to, end));
        button.remove();
      },
    },
    `${count(end - start)} characters are not shown. Show ${count(Math.min(MORE, end - start))} more`,
  );
  return button;
}
