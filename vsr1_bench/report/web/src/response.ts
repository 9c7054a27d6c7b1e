/* A response of a run: its channels, the answer that was read, judges, second pass, blind answers. */

import { shownText } from "./asked";
import { h } from "./dom";
import { count, fixed, percent, seconds, when } from "./format";
import { cellIcon, CELL_NAMES, tag, verdictIcon, type CellCode } from "./marks";
import { oneLine, plainText } from "./plain";
import { formatted } from "./preferences";
import type {
  JudgmentDetail,
  JudgeSummary,
  Piece,
  ReadingDetail,
  ResponseDetail,
  RunDetail,
  SampleDetail,
  Span,
  TaskSummary,
} from "./types";
import { facts } from "./view";

const CHANNELS: Record<Piece["channel"], string> = {
  said: "Response",
  thinking: "Thinking",
  description: "Description",
  other: "Other turn",
};
const MOST_PIECES = 200;
/** Their headings say the same, so formatted texts go without. */
const ONLY_TAGS = /^(\s*<\/?(description|think|thinking|answer)>\s*)+$/;

export function responsePanel(
  task: TaskSummary,
  run: number,
  sample: SampleDetail,
  detail: RunDetail,
  response: ResponseDetail,
): HTMLElement {
  const summary = task.runs[run]!;
  const main = response.judgments[0] ?? null;
  const cell = cellOf(response, main);
  const several = detail.responses.length > 1;
  return h(
    "div",
    { class: "response", role: "group", "aria-label": several ? `Response ${response.index + 1}` : "Response" },
    several ? h("h3", { class: "number-of" }, `Response ${response.index + 1}`) : null,
    verdictLine(response, main, cell),
    response.error !== null ? h("p", { class: "notice" }, oneLine(response.error, 2000)) : null,
    responseText(response.text, response.pieces, main?.span ?? null),
    judgesPart(summary.judges, response.judgments),
    response.caption !== null
      ? h("div", { class: "piece description" }, h("h3", null, "Description, asked for by itself"), shownText(response.caption))
      : null,
    response.readings.map((reading, i) =>
      reading ? readingPart(summary.readers[i]?.label ?? "", summary.judges, reading) : null,
    ),
    blindPart(task, run, sample, response.index),
    facts([
      ["tokens", tokens(response.prompt_tokens, response.completion_tokens)],
      ["time", response.seconds === null ? null : seconds(response.seconds)],
      ["seed", response.seed === null ? null : String(response.seed)],
      ["finished by", response.finish_reason],
      ["made", when(response.created)],
    ]),
  );
}

function tokens(prompt: number | null, completion: number | null): string | null {
  if (prompt === null && completion === null) return null;
  const text = (n: number | null): string => (n === null ? "?" : count(n));
  return `${text(prompt)} in, ${text(completion)} out`;
}

/** The field of the square, from the first reader's verdict; null = no second pass. */
function cellOf(response: ResponseDetail, main: JudgmentDetail | null): CellCode | null {
  const reading = response.readings[0];
  if (!reading) return null;
  if (reading.description === null) return "n";
  const read = reading.judgments[0] ?? null;
  if (!main || !read || main.outcome === "unscored" || read.outcome === "unscored") return "u";
  const right = main.outcome === "correct";
  return read.outcome === "correct" ? (right ? "a" : "b") : right ? "s" : "d";
}

export function outcomeCode(judgment: JudgmentDetail | null, failed: boolean): string {
  if (failed) return "f";
  if (!judgment || judgment.outcome === "unscored") return "u";
  const score = judgment.score;
  if (score !== null && score > 0 && score < 1) return "g";
  return judgment.outcome === "correct" ? "c" : "i";
}

function verdictLine(
  response: ResponseDetail,
  main: JudgmentDetail | null,
  cell: CellCode | null,
): HTMLElement {
  const code = outcomeCode(main, response.error !== null);
  const words = response.error !== null ? "failed" : (main?.outcome ?? "not judged");
  return h(
    "div",
    { class: "verdict-line" },
    h("p", { class: `outcome v-${code}` }, verdictIcon(code), h("strong", { "aria-hidden": "true" }, words)),
    h(
      "p",
      { class: "read" },
      main?.extracted !== null && main?.extracted !== undefined
        ? ["answer ", h("strong", { dir: "auto" }, oneLine(main.extracted, 200))]
        : "no answer was read",
      main?.rule ? h("span", { class: "muted" }, ` by rule ${oneLine(main.rule)}`) : null,
      main?.score !== null && main?.score !== undefined ? ` · score ${percent(main.score)} %` : null,
    ),
    main?.unparsed ? tag("unparsed") : null,
    response.finish_reason === "length" ? tag("truncated") : null,
    cell ? h("p", { class: `field field-${cell}` }, cellIcon(cell), h("span", { "aria-hidden": "true" }, CELL_NAMES[cell])) : null,
  );
}

/** A response by channels; the words that the answer was read from are marked. */
export function responseText(text: string, pieces: Piece[], span: Span | null): HTMLElement {
  if (!text) return h("p", { class: "muted" }, "The response is empty.");
  const box = h("div", { class: "pieces" });
  let at = 0;
  const between = (to: number): void => {
    const tags = text.slice(at, to);
    const marks = clip(span, at, to);
    if (tags.trim() && !(formatted() && !marks.length && ONLY_TAGS.test(tags))) {
      box.append(h("div", { class: "between" }, plainText(marks.length ? tags : tags.trim(), marks)));
    }
  };
  for (const { channel, span: [from, to] } of pieces.slice(0, MOST_PIECES)) {
    if (from < at) continue;
    between(from);
    const part = text.slice(from, to);
    if (part.trim()) {
      box.append(
        h(
          "div",
          { class: `piece ${channel}` },
          h("h3", null, CHANNELS[channel] ?? channel),
          shownText(part, clip(span, from, to)),
        ),
      );
    }
    at = to;
  }
  between(text.length);
  return box;
}

/** The part of a span inside a part of the text, counted from the part's start. */
function clip(span: Span | null, from: number, to: number): Span[] {
  if (!span || span[0] >= to || span[1] <= from) return [];
  return [[Math.max(0, span[0] - from), Math.min(span[1], to) - from]];
}

function readingPart(reader: string, judges: JudgeSummary[], reading: ReadingDetail): HTMLElement {
  const main = reading.judgments[0] ?? null;
  const code = outcomeCode(main, reading.error !== null);
  return h(
    "div",
    { class: "part second" },
    h("h3", null, "Second pass: the description instead of the image"),
    h("p", { class: "muted" }, `Read by ${oneLine(reader)}`),
    reading.description === null
      ? h("p", null, "The response has no description.")
      : h("details", null, h("summary", null, "The description it was given"), shownText(reading.description)),
    reading.error !== null ? h("p", { class: "notice" }, oneLine(reading.error, 2000)) : null,
    reading.text === null
      ? null
      : [
          h(
            "div",
            { class: "verdict-line" },
            h(
              "p",
              { class: `outcome v-${code}` },
              verdictIcon(code),
              h(
                "strong",
                { "aria-hidden": "true" },
                code === "c" ? "sufficient" : code === "i" ? "not sufficient" : "no verdict",
              ),
            ),
            h("p", { class: "read" }, "answer ", h("strong", null, oneLine(main?.extracted ?? "none", 200))),
            reading.finish_reason === "length" ? tag("truncated") : null,
          ),
          responseText(reading.text, reading.pieces, main?.span ?? null),
          facts([
            ["tokens", tokens(reading.prompt_tokens, reading.completion_tokens)],
            ["time", reading.seconds === null ? null : seconds(reading.seconds)],
          ]),
          reading.judgments.length > 1 || main?.raw ? judgesPart(judges, reading.judgments, "Judges of the reading") : null,
        ],
  );
}

function blindPart(task: TaskSummary, run: number, sample: SampleDetail, index: number): HTMLElement | null {
  const blind = task.runs[run]!.blind_runs.filter((other) => sample.runs[other]);
  if (!blind.length) return null;
  return h(
    "div",
    { class: "part blind" },
    h("h3", null, "Blind answers"),
    blind.map((other) => {
      const detail = sample.runs[other]!;
      const variant = task.runs[other]!.variant;
      const response = detail.responses.find((one) => one.index === index) ?? detail.responses[0];
      if (!response) return h("p", { class: "muted" }, `${variant}: ${detail.left_out ?? "no response"}`);
      const main = response.judgments[0] ?? null;
      const code = outcomeCode(main, response.error !== null);
      return h(
        "details",
        null,
        h(
          "summary",
          null,
          verdictIcon(code),
          ` ${BLIND[variant] ?? variant}: `,
          h("strong", null, oneLine(main?.extracted ?? "no answer", 100)),
        ),
        responseText(response.text, response.pieces, main?.span ?? null),
      );
    }),
  );
}

const BLIND: Record<string, string> = {
  drop: "without the image",
  guess: "without the image, told to guess",
  noise: "with noise instead",
  swap: "with another image",
};

function judgesPart(
  judges: JudgeSummary[],
  judgments: (JudgmentDetail | null)[],
  title = "Judges",
): HTMLElement | null {
  if (!judges.length) return null;
  return h(
    "div",
    { class: "part judges" },
    h("h3", null, title),
    judges.map((judge, i) => judgmentPart(judge, judgments[i] ?? null)),
  );
}

function judgmentPart(judge: JudgeSummary, judgment: JudgmentDetail | null): HTMLElement {
  if (!judgment) {
    return h(
      "div",
      { class: "judge" },
      h(
        "p",
        null,
        verdictIcon("m", "no verdict"),
        h("strong", null, oneLine(judge.name)),
        h("span", { class: "muted" }, " no verdict"),
      ),
    );
  }
  const prompt = judgment.prompt ? judge.prompt_texts[judgment.prompt] : undefined;
  const notes = [
    judgment.extracted === null ? null : `read “${oneLine(judgment.extracted, 120)}”`,
    judgment.rule === null ? null : `rule ${oneLine(judgment.rule)}`,
    judgment.label === null ? null : `said ${oneLine(judgment.label)}`,
    judgment.score === null ? null : `score ${percent(judgment.score)} %`,
    judgment.reason === null ? null : oneLine(judgment.reason, 400),
    judgment.model === null ? null : oneLine(judgment.model),
    tokens(judgment.prompt_tokens, judgment.completion_tokens)?.concat(" tokens") ?? null,
    judgment.cost === null ? null : `cost ${fixed(judgment.cost, 5)}`,
  ].filter(Boolean);
  return h(
    "div",
    { class: "judge" },
    h(
      "p",
      null,
      verdictIcon(outcomeCode(judgment, false)),
      h("strong", null, oneLine(judge.name)),
      h("span", { class: "muted" }, ` ${notes.join(" · ")}`),
    ),
    judgment.raw === null
      ? null
      : h("details", null, h("summary", null, "Its words"), plainText(judgment.raw)),
    prompt === undefined
      ? null
      : h(
          "details",
          null,
          h("summary", null, `Its prompt (${oneLine(judgment.prompt ?? "").slice(0, 8)})`),
          plainText(prompt),
        ),
  );
}
