/* What a sample asks: images, question, options, gold answer. */

import { h } from "./dom";
import { oneLine, plainText } from "./plain";
import { formatted } from "./preferences";
import { richText } from "./rich";
import { imagePath } from "./samplerow";
import type { Asked, ImageRef, SampleDetail, Span } from "./types";
import { facts, letter } from "./view";
import { openImage } from "./zoom";

/** A text as the reader wants it. */
export function shownText(text: string, marks: readonly Span[] = []): HTMLElement {
  return formatted() ? richText(text, marks) : plainText(text, marks);
}

type Shown = Asked & Pick<SampleDetail, "images" | "row" | "groups">;

export function askedPanel(detail: Shown): HTMLElement[] {
  const placed = new Set((detail.question ?? []).filter((part) => typeof part === "number"));
  const rest = detail.images.map((_, i) => i).filter((i) => !placed.has(i));
  const several = detail.images.length > 1;
  const parts: HTMLElement[] = [
    h("h2", { class: "sr" }, "Question"),
    detail.question === null
      ? h("p", { class: "muted" }, "The question was withheld.")
      : h(
          "div",
          { class: "question" },
          detail.question.map((part) =>
            typeof part === "string"
              ? part.trim()
                ? shownText(part)
                : null
              : picture(detail.images[part] ?? null, part, several),
          ),
          rest.map((i) => picture(detail.images[i]!, i, several)),
        ),
  ];
  if (detail.choices?.length) parts.push(choices(detail));
  parts.push(
    h(
      "p",
      { class: "gold-answer" },
      h("span", { class: "label" }, "Gold answer"),
      detail.answer === null
        ? h("span", { class: "muted" }, "withheld")
        : h("strong", { dir: "auto" }, oneLine(detail.answer, 500)),
    ),
    facts([
      ["row", String(detail.row)],
      ...Object.entries(detail.groups).map(([name, value]): [string, string] => [
        oneLine(name),
        oneLine(value, 80),
      ]),
    ]),
  );
  return parts;
}

function choices(detail: Asked): HTMLElement {
  const gold = detail.answer;
  return h(
    "ol",
    { class: "choices" },
    detail.choices!.map((choice, i) => {
      const right = gold === letter(i);
      return h(
        "li",
        { class: right ? "right" : null },
        h("span", { class: "letter" }, letter(i)),
        shownText(choice),
        right ? h("span", { class: "tag" }, "gold") : null,
      );
    }),
  );
}

function picture(image: ImageRef | null, number: number, several: boolean): HTMLElement {
  const src = imagePath(image?.src);
  if (!image || !src) return h("p", { class: "muted missing" }, `Image ${number + 1} is not in this report.`);
  const size = image.width && image.height ? `${image.width} × ${image.height}` : "";
  const label = `Image ${several ? `${number + 1} ` : ""}of the question`;
  const shown = h("img", { src, alt: label, width: image.width, height: image.height });
  if (image.width !== null && image.width < 200) shown.classList.add("pixels");
  return h(
    "figure",
    null,
    h(
      "button",
      { type: "button", class: "image", "aria-label": `Zoom: ${label}`, onclick: () => openImage(src, label) },
      shown,
    ),
    h(
      "figcaption",
      null,
      several ? `Image ${number + 1}` : "",
      size,
      image.sha256 ? h("span", { title: image.sha256 }, `sha256 ${image.sha256.slice(0, 8)}`) : null,
    ),
  );
}
