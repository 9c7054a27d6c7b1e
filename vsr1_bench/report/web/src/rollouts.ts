/* A group of rollouts: the responses to one prompt, their rewards, advantages and readings. */

import { h, hidden, s } from "./dom";
import { fixed, short } from "./format";
import { tag } from "./marks";
import { oneLine } from "./plain";
import type { Piece, RolloutDetail, RolloutGroup, Span } from "./types";

interface Texts {
  responseText: (text: string, pieces: Piece[], span: Span | null) => HTMLElement;
  shownText: (text: string) => HTMLElement;
}

const LAST_WORDS = 66;

export function groupPanel(group: RolloutGroup, number: number, texts: Texts): HTMLElement {
  const names = [...new Set(group.responses.flatMap((one) => one.components.map(([name]) => name)))];
  const visual = group.responses.some((one) => one.visual_advantage !== null);
  const most = Math.max(
    1e-9,
    ...group.responses.flatMap((one) => [one.advantage, one.visual_advantage].map((a) => Math.abs(a ?? 0))),
  );
  return h(
    "article",
    { class: "card group", "aria-label": `Group ${number + 1}` },
    h(
      "header",
      null,
      h("h3", null, oneLine(group.question, 400) || oneLine(group.sample_id)),
      h(
        "p",
        { class: "muted" },
        `gold `,
        h("strong", null, oneLine(group.answer, 120)),
        ` · ${oneLine(group.sample_id, 80)} · mean ${short(group.reward_mean)} ± ${short(group.reward_std)}`,
        group.rank ? ` · rank ${group.rank}` : "",
      ),
      group.dropped ? tag(`no update: ${oneLine(group.dropped, 200)}`, "warn") : null,
    ),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": `Responses of group ${number + 1}` },
      h(
        "table",
        { class: "responses" },
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            h("th", { scope: "col" }, "#"),
            h("th", { scope: "col", class: "number" }, "reward"),
            names.map((name) => h("th", { scope: "col", class: "number" }, oneLine(name).replaceAll("_", " "))),
            h("th", { scope: "col" }, "advantage"),
            visual ? h("th", { scope: "col" }, "visual advantage") : null,
            h("th", { scope: "col", class: "number" }, "tokens"),
            h("th", { scope: "col", class: "wide" }, "response"),
          ),
        ),
        h(
          "tbody",
          null,
          group.responses.map((one) => responseRows(one, names, visual, most, texts)),
        ),
      ),
    ),
  );
}

function responseRows(
  one: RolloutDetail,
  names: string[],
  visual: boolean,
  most: number,
  texts: Texts,
): HTMLElement[] {
  const components = new Map(one.components);
  const reasons = new Map(one.reasons);
  const columns = 4 + names.length + (visual ? 2 : 1);
  const more = h("tr", { class: "more", hidden: true }, h("td", { colspan: columns }));
  const button = h(
    "button",
    {
      type: "button",
      class: "open",
      "aria-expanded": "false",
      onclick: () => {
        const opened = more.hidden;
        more.hidden = !opened;
        button.setAttribute("aria-expanded", String(opened));
        const cell = more.firstElementChild!;
        if (opened && !cell.childElementCount) cell.append(details(one, texts));
      },
    },
    lastWords(one.text) || "(empty)",
  );
  const row = h(
    "tr",
    { class: one.excluded ? "excluded" : null },
    h("th", { scope: "row" }, String(one.index + 1)),
    h("td", { class: "number", "data-label": "reward" }, h("strong", null, short(one.reward))),
    names.map((name) => component(name, components.get(name) ?? null, reasons.get(name))),
    h("td", { "data-label": "advantage" }, advantage(one.advantage, most)),
    visual ? h("td", { "data-label": "visual advantage" }, advantage(one.visual_advantage, most)) : null,
    h("td", { class: "number", "data-label": "tokens" }, one.tokens === null ? "–" : String(one.tokens)),
    h(
      "td",
      { class: "wide" },
      button,
      one.finish_reason === "length" ? tag("truncated") : null,
      one.excluded ? tag(oneLine(one.excluded, 120), "warn") : null,
    ),
  );
  return [row, more];
}

/** The end of a response, where its answer is. */
function lastWords(text: string): string {
  const trimmed = text.trimEnd();
  if (trimmed.length <= LAST_WORDS) return oneLine(trimmed);
  const end = oneLine(trimmed.slice(-LAST_WORDS), LAST_WORDS);
  return `… ${end.slice(end.indexOf(" ") + 1)}`;
}

function component(name: string, value: number | null, reason: string | undefined): HTMLElement {
  const kind = value === null ? "none" : value > 0 ? "some" : "zero";
  const label = oneLine(name).replaceAll("_", " ");
  return h(
    "td",
    { class: `number component ${kind}`, title: reason ? oneLine(reason) : null, "data-label": label },
    short(value),
  );
}

/** A bar to the right (better than its group) or the left. */
function advantage(value: number | null, most: number): HTMLElement {
  if (value === null) return h("span", { class: "muted" }, "–", hidden("none"));
  const width = (30 * Math.abs(value)) / most;
  return h(
    "span",
    { class: "advantage" },
    s(
      "svg",
      { viewBox: "0 0 60 12", width: 60, height: 12, "aria-hidden": "true" },
      s("path", { class: "axis", d: "M30 0V12" }),
      s("rect", {
        class: value >= 0 ? "plus" : "minus",
        x: value >= 0 ? 30 : 30 - width,
        y: 2,
        width,
        height: 8,
      }),
    ),
    h("span", null, `${value > 0 ? "+" : ""}${fixed(value, 2)}`),
  );
}

function details(one: RolloutDetail, texts: Texts): HTMLElement {
  return h(
    "div",
    { class: "rollout" },
    one.error === null ? null : h("p", { class: "notice" }, oneLine(one.error, 1000)),
    texts.responseText(one.text, one.pieces, null),
    one.reading === null && one.reading_error === null
      ? null
      : h(
          "div",
          { class: "part second" },
          h("h4", null, "Second pass"),
          one.reading_error === null ? null : h("p", { class: "notice" }, oneLine(one.reading_error, 1000)),
          one.reading === null ? null : h("div", { class: "piece said" }, texts.shownText(one.reading)),
          one.reading_finish_reason === "length" ? tag("truncated") : null,
        ),
    one.reasons.length
      ? h(
          "dl",
          { class: "facts" },
          one.reasons.map(([name, reason]) =>
            h("div", null, h("dt", null, oneLine(name).replaceAll("_", " ")), h("dd", null, oneLine(reason, 300))),
          ),
        )
      : null,
  );
}
