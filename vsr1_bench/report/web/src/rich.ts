/*
 * Markdown and LaTeX of untrusted text. marked parses, KaTeX writes MathML (no fonts, no styles),
 * DOMPurify keeps an explicit list of elements without any address. Markup in the text is text.
 */

import createDOMPurify from "dompurify";
import katex from "katex";
import { Marked, type TokenizerAndRendererExtension, type Tokens } from "marked";
import { h } from "./dom";
import { plainNodes, plainText } from "./plain";
import type { Span } from "./types";

/** Longer texts are shown as they are. */
const LONGEST = 20_000;
const LONGEST_FORMULA = 2_000;
const MOST_FORMULAS = 200;

/* Private-use characters that carry the ends of a marked span through Markdown. */
const OPEN = "\ue0f0";
const CLOSE = "\ue0f1";

const MATH_TAGS =
  "math mrow mi mn mo ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover " +
  "munderover mtable mtr mtd mstyle mpadded mphantom menclose mmultiscripts mprescripts";
const TEXT_TAGS =
  "p br hr em strong del code pre ul ol li blockquote table thead tbody tr th td span";

const purify = createDOMPurify(window);

let formulas = 0;

function escape(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

function formula(source: string, block: boolean, raw: string): string {
  const opens = source.includes(OPEN) ? OPEN : "";
  const closes = source.includes(CLOSE) ? CLOSE : "";
  const tex = source.replaceAll(OPEN, "").replaceAll(CLOSE, "");
  const asText = `<code class="tex">${escape(raw)}</code>`;
  if (++formulas > MOST_FORMULAS || tex.length > LONGEST_FORMULA) return asText;
  try {
    const html = katex.renderToString(tex, {
      displayMode: block,
      output: "mathml",
      throwOnError: true,
      strict: "ignore",
      trust: false,
      maxExpand: 200,
      maxSize: 20,
    });
    // The policy of the page allows no style attributes, and DOMPurify drops <annotation>, not what
    // is in it. KaTeX escapes both.
    const math = html
      .replace(/<annotation[^>]*>[^<]*<\/annotation>/g, "")
      .replace(/ style="[^"]*"/g, "");
    return `${opens}${math}${closes}`;
  } catch {
    return asText;
  }
}

/** `\boxed{…}` by itself: words stay words, and the frame is ours (browsers draw no <menclose>). */
function box(source: string, raw: string): string {
  const opens = source.includes(OPEN) ? OPEN : "";
  const closes = source.includes(CLOSE) ? CLOSE : "";
  const inner = source.replaceAll(OPEN, "").replaceAll(CLOSE, "").slice("\\boxed{".length, -1);
  const shown = /^[\p{L}\p{N}\s.,:;%'()/+-]*$/u.test(inner)
    ? escape(inner)
    : formula(inner, false, raw.replaceAll(OPEN, "").replaceAll(CLOSE, ""));
  return `<span class="boxed">${opens}${shown}${closes}</span>`;
}

interface MathToken extends Tokens.Generic {
  tex: string;
  block: boolean;
}

const MATH = /^(?:\$\$([^$]+?)\$\$|\\\[([\s\S]+?)\\\]|\\\(([\s\S]+?)\\\)|\$(?!\s)([^$\n]+?)(?<!\s)\$(?!\d))/;
const STARTS = /\$|\\\[|\\\(|\\boxed\{/;

function boxed(text: string): string | null {
  if (!text.startsWith("\\boxed{")) return null;
  let depth = 0;
  for (let i = 6; i < Math.min(text.length, LONGEST_FORMULA); i++) {
    if (text[i] === "{") depth++;
    else if (text[i] === "}" && --depth === 0) return text.slice(0, i + 1);
  }
  return null;
}

function token(name: string, source: string): MathToken | undefined {
  const box = boxed(source);
  if (box) return { type: name, raw: box, tex: box, block: false };
  const found = MATH.exec(source);
  if (!found) return undefined;
  const tex = found[1] ?? found[2] ?? found[3] ?? found[4] ?? "";
  return { type: name, raw: found[0], tex, block: found[1] !== undefined || found[2] !== undefined };
}

const math: TokenizerAndRendererExtension = {
  name: "math",
  level: "inline",
  start: (source: string) => {
    const at = source.search(STARTS);
    return at < 0 ? undefined : at;
  },
  tokenizer: (source: string) => token("math", source),
  renderer: (found) => {
    const { tex, block, raw } = found as MathToken;
    const alone = boxed(tex.trim());
    return alone && alone === tex.trim() ? box(alone, raw) : formula(tex, block, raw);
  },
};

const marked = new Marked({
  gfm: true,
  breaks: true,
  extensions: [math],
  renderer: {
    html: ({ text }) => escape(text),
    heading({ tokens }) {
      return `<p class="heading">${this.parser.parseInline(tokens)}</p>`;
    },
    link({ href, tokens }) {
      const text = this.parser.parseInline(tokens);
      return text === escape(href) ? text : `${text} <span class="url">(${escape(href)})</span>`;
    },
    image: ({ href, text }) => `<span class="url">[image: ${escape(text)} ${escape(href)}]</span>`,
    checkbox: ({ checked }) => (checked ? "[x] " : "[ ] "),
  },
});

/** A text as Markdown and LaTeX, its marked spans in <mark>; as it is, where it cannot be one. */
export function richText(text: string, marks: readonly Span[] = []): HTMLElement {
  if (text.length > LONGEST) return plainText(text, marks);
  formulas = 0;
  let fragment: DocumentFragment;
  try {
    fragment = purify.sanitize(marked.parse(withMarks(text, marks), { async: false }), {
      ALLOWED_TAGS: `${TEXT_TAGS} ${MATH_TAGS}`.split(" "),
      ALLOWED_ATTR: ["class", "display", "mathvariant", "notation", "stretchy", "columnalign", "align", "start"],
      ALLOW_DATA_ATTR: false,
      ALLOW_ARIA_ATTR: false,
      RETURN_DOM_FRAGMENT: true,
    });
  } catch {
    return plainText(text, marks); // nested too deep
  }
  const box = h("div", { class: "rich", dir: "auto" });
  box.append(fragment);
  finish(box);
  return box;
}

/* The text's own private-use characters would end a mark: they are shown by their code. */
function withMarks(text: string, marks: readonly Span[]): string {
  const clean = (part: string): string => part.replace(/[\ue0f0\ue0f1]/g, "\ufffd").replaceAll("\0", "\ufdd0");
  let found = "";
  let at = 0;
  for (const [start, end] of [...marks].sort((a, b) => a[0] - b[0])) {
    if (start < at || end <= start) continue;
    found += clean(text.slice(at, start)) + OPEN + clean(text.slice(start, end)) + CLOSE;
    at = end;
  }
  return found + clean(text.slice(at));
}

/* Turn the private-use characters into <mark>, and make invisible characters visible. */
function finish(box: HTMLElement): void {
  for (const scroller of box.querySelectorAll("pre, table, math[display=block]")) {
    const frame = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Wide content" });
    scroller.replaceWith(frame);
    frame.append(scroller);
  }
  const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
  const nodes: Node[] = [];
  while (walker.nextNode()) nodes.push(walker.currentNode);
  let inside = false;
  for (const node of nodes) {
    if (node instanceof Element) {
      if (inside && node.localName === "math") node.classList.add("marked");
      continue;
    }
    const inMath = node.parentElement?.closest("math");
    const pieces = (node.textContent ?? "").split(/([\ue0f0\ue0f1])/);
    const found: Node[] = [];
    for (const piece of pieces) {
      if (piece === OPEN) inside = true;
      else if (piece === CLOSE) inside = false;
      else if (piece === "") continue;
      else if (inMath) found.push(document.createTextNode(piece));
      else if (inside && piece.trim()) found.push(h("mark", null, ...plainNodes(piece)));
      else found.push(...plainNodes(piece));
    }
    (node as Text).replaceWith(...found);
  }
}
