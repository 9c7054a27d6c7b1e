/*
 * What the files of a report folder hold. This file is the contract between the viewer (this
 * folder) and the writer (`vsr1_bench/report/*.py`). Raise SCHEMA in both if a field changes.
 *
 * The folder:
 *
 *   index.html                 the viewer; script and style are inline
 *   data/overview.js           Overview
 *   data/task-T.js             TaskIndex of overview.tasks[T]
 *   data/task-T-chunk-K.js     TaskChunk: the samples of chunk K
 *   data/task-T-grams.js       TaskGrams: which chunks can hold a text (absent: TaskIndex.grams)
 *   data/train-R.js            TrainIndex of overview.trainings[R]
 *   data/train-R-chunk-K.js    TrainChunk: the rollouts of the steps of chunk K
 *   data/labels.js             LabelSheet: a folder of `view --labels` has this file alone
 *   images/HASH.EXT            originals; images/HASH-small.EXT  thumbnails (at most 320 px)
 *   report.json                {"schema": SCHEMA, ...}: marks the folder as a report; not read here
 *
 * A page from file:// cannot fetch. So each file of data/ is ONE call, and nothing else:
 *
 *   vsr1_data("overview", "H4sI...");
 *
 * (name without folder and `.js`, base64 of gzip of UTF-8 JSON). The JSON itself is ASCII only. The
 * viewer defines `window.vsr1_data`, adds `<script src="data/NAME.js">` for what it needs, and
 * inflates by `DecompressionStream("gzip")`. Names consist of [a-z0-9-] only.
 *
 * Content-security policy, written by Python into a <meta> of index.html (checked from file:// in
 * headless Chromium):
 *
 *   default-src 'none'; script-src 'sha256-…' 'self' file:; style-src 'sha256-…';
 *   img-src 'self' file: data:; base-uri 'none'; form-action 'none';
 *   require-trusted-types-for 'script'; trusted-types dompurify vsr1-data
 *
 * So: no style attributes in markup (`style="…"`, setAttribute("style")); CSSOM (`el.style.x = …`)
 * and SVG presentation attributes are fine. No eval, no blob:, no inline handlers.
 *
 * What the build (npm) leaves, both in git and in the wheel:
 *
 *   vsr1_bench/report/web/dist/viewer.js     one classic script (IIFE), minified
 *   vsr1_bench/report/web/dist/viewer.css    one style sheet
 *   vsr1_bench/report/web/dist/SOURCE        sha256 of the sources and of both files, for the test
 *                                            that they fit
 *
 * Python puts them between <style>…</style> and <script>…</script> at the end of <body>, whose only
 * other content is `<main id="app"></main><noscript>…</noscript>`; on the page of a sheet the first has
 * `data-page="labels"`. viewer.js must not contain
 * `</script` or `<!--`; viewer.css not `</style` (escape them in strings; the writer refuses them).
 *
 * All texts are untrusted (model output, data sets): any string may hold markup, NUL, lone surrogates,
 * bidi marks, ANSI codes, and may be 10 MB long. All positions in texts are in UTF-16 units, as
 * JavaScript counts. Shares, accuracies and intervals are in [0, 1] unless stated otherwise.
 */

export const SCHEMA = 1;

/* ------------------------------------------------------------------ data/overview.js */

/** A number with its 95 % interval; null: not computed, or nothing was scored. */
export interface Value {
  value: number | null;
  low: number | null;
  high: number | null;
  /** Units behind the value: responses, samples or groups. */
  n: number;
  /** "own": in the unit of an external harness, not a share. */
  unit?: string;
}

export interface Overview {
  schema: number;
  title: string;
  /** UTC, ISO 8601. */
  created: string;
  version: string;
  /** The command line that wrote the report. */
  command: string;
  table: Table;
  tasks: TaskSummary[];
  trainings: TrainSummary[];
  /** One line each: damaged runs that were left out, missing images, withheld gold answers, … */
  notices: string[];
  /** What to run next where something is missing. */
  next: NextStep[];
}

export interface NextStep {
  /** What is missing, one sentence. */
  why: string;
  /** Shell command; "" = none. */
  command: string;
  task: number | null;
  run: number | null;
}

/** The leaderboard, as `vsr1-bench table --intervals` lays it out. VALUES ARE IN PERCENT. */
export interface Table {
  columns: TableColumn[];
  /** Names of average columns behind the others. */
  averages: string[];
  /** Measured rows first, then rows of publications. */
  rows: TableRow[];
  remarks: string[];
}
export interface TableColumn {
  title: string;
  task: string;
  metric: string;
  /** Index into Overview.tasks; null: a group of tasks, or only reported. */
  task_index: number | null;
  lower_is_better: boolean;
}
export interface TableRow {
  kind: "measured" | "reported";
  model: string;
  setting: string;
  /** Publication and place in it; or date, version and judge. */
  source: string;
  /** One per column, then one per average; null = empty. */
  cells: (TableCell | null)[];
}
export interface TableCell {
  /** Percent (unless digits is 4: own unit). */
  value: number | null;
  low: number | null;
  high: number | null;
  n: number | null;
  judge: string | null;
  /** Who read the descriptions (metrics of the second pass). */
  reader: string | null;
  ranked: boolean;
  /** "best" and "second" only where the paired test says so. */
  mark: "" | "best" | "second";
  /** Footnotes: why it is not ranked, and the like. */
  notes: string[];
  digits: number;
  /** Index into TaskSummary.runs of the column's task; null: none, or not one run. */
  run: number | null;
}

/** One task with its runs. */
export interface TaskSummary {
  name: string;
  /** "task-T": name of its TaskIndex. */
  file: string;
  description: string;
  answer_type: string;
  license: string;
  version: string;
  /** Number of samples in the list (union of all runs). */
  samples: number;
  /** Whether gold answers / questions are here (a bundle may come without). */
  has_golds: boolean;
  has_questions: boolean;
  has_images: boolean;
  /** Names of the categories that the samples have (TaskIndex.groups). */
  groups: string[];
  runs: RunSummary[];
  /** Every two runs, later against earlier: differences are second minus first. */
  pairs: Pair[];
}

/** One run of a task. Blind runs are runs of their own, with `blind_of`. */
export interface RunSummary {
  model: string;
  /** Prompt and what tells it from the model's other runs. */
  setting: string;
  /** Model and setting as one text, unique within the task. */
  label: string;
  folder: string;
  spec_hash: string;
  created: string;
  /** "none" | "drop" | "noise" | "swap". */
  variant: string;
  /** Index of the run (same task) of which this one is the blind run. */
  blind_of: number | null;
  /** Indices of this run's blind runs. */
  blind_runs: number[];
  per_sample: number;
  /** The run's prompt format and the hash of its text. */
  prompt: { format: string; hash: string; system: string | null };
  /** Sampling settings, weights, precision, engine, versions, … as name → text. */
  settings: [string, string][];
  /** The command that made the run. */
  command: string;
  /** All judges of the run; the first one is the main judge, whose verdicts the index holds. Empty:
   *  not judged. */
  judges: JudgeSummary[];
  /** Who read its descriptions, newest first; the index holds the cell of the first one. */
  readers: ReaderSummary[];
  /** Fields that a published run came without: "answer", "question". */
  withheld: string[];
}

/** One judge's score of a run. */
export interface JudgeSummary {
  /** Name as stored, e.g. "string_match" or "openai[gpt-…]". */
  name: string;
  /** Judging models, hashes of prompts, tokens, cost; null = a rule. */
  judging: {
    models: string[];
    prompts: string[];
    prompt_tokens: number;
    completion_tokens: number;
    cost: number | null;
  } | null;
  /** Texts of the judge's prompts as far as known, hash → template. */
  prompt_texts: Record<string, string>;
  /** Null: judged, but not scored. */
  score: Score | null;
}

export interface Score {
  /** Name of the headline metric (a key of metrics). */
  headline: string;
  /** In the task's order: accuracy, …, lsr, self_contained, saw_but_wrong, leakage, no_description,
   *  blind_accuracy[V], gain[V]. */
  metrics: [string, Value][];
  lower_is_better: string[];
  /** Samples. */
  n: number;
  total: number;
  scored: number;
  /** Counts of responses. */
  unparsed: number;
  truncated: number;
  failed: number;
  ranked: boolean;
  /** Why responses have no verdict: commonest reasons. */
  unscored: { reason: string; n: number }[];
  footnotes: string[];
  /** Group name → [group, accuracy][]. */
  by: Record<string, [string, Value][]>;
  /** Second pass; null = none. */
  perception: {
    reader: string;
    n: number;
    table: {
      sufficient: { correct: number; incorrect: number };
      insufficient: { correct: number; incorrect: number };
    };
    undescribed: number;
    uncounted: number;
    cut_readings: number;
  } | null;
  /** Variant → gain over the blind run. */
  blind: Record<string, { n: number; accuracy: Value; blind_accuracy: Value; gain: Value; p_value: number | null }>;
}

export interface ReaderSummary {
  label: string;
  digest: string;
}

/** Two runs on the same samples, as `vsr1-bench compare` computes it. */
export interface Pair {
  /** Indices into runs; first < second. */
  first: number;
  second: number;
  judge: string;
  /** Why they cannot be compared; "" = they can, and the rest is meaningful. */
  refused: string;
  n: number;
  first_value: number;
  second_value: number;
  difference: number;
  low: number | null;
  high: number | null;
  p_value: number;
  /** Adjusted by Holm over the task's pairs. */
  holm: number;
  test: string;
  /** Samples on which only the second / only the first is right. */
  wins: number;
  losses: number;
  /** Reason → samples only one run could answer for. */
  left_out: Record<string, number>;
}

/* ------------------------------------------------------------------ data/task-T.js */

/**
 * The list of a task, in columns. S = number of samples, n = RunSummary.per_sample.
 * Columns of samples have length S; columns of responses have length S * n, at s * n + index.
 * A run that did not ask a sample has NOT_ASKED there.
 */
export interface TaskIndex {
  schema: number;
  task: number;
  /** Ids of the samples, in data order. */
  ids: string[];
  /** Start of each question, at most 90 characters, one line; "" = withheld. */
  titles: string[];
  /** Gold answers, at most 60 characters; null = withheld. */
  golds: (string | null)[];
  /** Number of images of each sample; 0 = none. */
  images: number[];
  /** Group name → category of each sample. */
  groups: Record<string, Coded>;
  runs: RunColumns[];
  /** First sample of each chunk, ascending, the first is 0: the chunk of s is the last one <= s. */
  chunks: number[];
  /** Whether data/task-T-grams.js exists. */
  grams: boolean;
  /** Thumbnail of each sample's first image (path relative to index.html); absent = no images. */
  thumbs?: (string | null)[];
}

/** A column of few different texts: values[codes[i]]; -1 = null. */
export interface Coded {
  values: string[];
  codes: number[];
}

export interface RunColumns {
  /** One character per response, see VERDICTS. */
  verdict: string;
  /** One character per response, see CELLS; "" = the run has no second pass. */
  cell: string;
  /** Bits per response, see FLAGS. */
  flags: number[];
  /** Share correct (graded judges only); null = none. Absent: every verdict is right or wrong. */
  score?: (number | null)[];
  /** The final answer that the main judge read, at most 60 characters. */
  answer: Coded;
  /** Completion tokens; -1 = not reported. */
  tokens: number[];
  /** Length of the response in characters; -1 = none. */
  chars: number[];
}

export const VERDICTS = {
  c: "correct",
  i: "incorrect",
  g: "graded between 0 and 1",
  u: "unscored: there is a response, but no verdict",
  f: "failed: the request failed",
  m: "missing: asked for, never made",
  o: "not asked in this run",
} as const;

/** Description sufficient × answer right. */
export const CELLS = {
  a: "sufficient, right",
  b: "sufficient, wrong (saw but wrong)",
  s: "insufficient, right (language shortcut)",
  d: "insufficient, wrong",
  n: "no description",
  u: "uncounted: a verdict is missing",
} as const;

export const FLAGS = {
  unparsed: 1,
  truncated: 2,
  /** The reading was truncated. */
  cut_reading: 4,
  /** Judges of this run disagree on this response. */
  disagree: 8,
  /** Right in a blind run of this run. */
  blind_right: 16,
  /** The question, its options or its gold answer differ from the sample's in the first run that has
   *  it: not compared. */
  changed: 32,
  /** A verdict on a response by the main judge exists. */
  judged: 64,
} as const;

/* ------------------------------------------------------------------ data/task-T-chunk-K.js */

export interface TaskChunk {
  task: number;
  /** Number of the first sample. */
  first: number;
  samples: SampleDetail[];
}

/** What a sample asks. */
export interface Asked {
  /** Text and images in reading order; a number is an index into SampleDetail.images. null =
   *  withheld. */
  question: (string | number)[] | null;
  /** Options A, B, …, the same way; null = none. */
  choices: string[] | null;
  choices_in_image: boolean;
  /** null = withheld. */
  answer: string | null;
}

export interface SampleDetail extends Asked {
  id: string;
  /** Place in the data set, from 0. */
  row: number;
  answer_type: string;
  groups: Record<string, string>;
  images: ImageRef[];
  /** One per RunSummary; null = the run did not ask it. */
  runs: (RunDetail | null)[];
}

export interface ImageRef {
  /** Paths relative to index.html; null = the image is not here. */
  src: string | null;
  thumb: string | null;
  width: number | null;
  height: number | null;
  /** sha256 of the bytes that the model was shown, as the run noted it; "" = not noted. */
  sha256: string;
}

export interface RunDetail {
  /** What this run asked, if it differs from the sample's. */
  changed: Asked | null;
  /** A blind run may leave a sample out; why. */
  left_out: string | null;
  /** One per response that was made, by `index`. */
  responses: ResponseDetail[];
  /** Shell command that asks this sample again. */
  command: string;
}

/** Start and end in a text, UTF-16 units. */
export type Span = [number, number];
/** Which part of a response is what. */
export interface Piece {
  channel: "said" | "thinking" | "description" | "other";
  span: Span;
}

export interface ResponseDetail {
  index: number;
  text: string;
  /** Channels in reading order; parts outside them (tags, marks) are in none. */
  pieces: Piece[];
  /** The part in which the final answer was looked for. */
  final: Span;
  /** "stop", "length" or "error". */
  finish_reason: string;
  error: string | null;
  prompt_tokens: number | null;
  completion_tokens: number | null;
  seconds: number | null;
  created: string;
  seed: number | null;
  /** One per JudgeSummary of the run; null = no verdict by it. */
  judgments: (JudgmentDetail | null)[];
  /** A description that was asked for by itself (`--perception caption`); null = none. */
  caption: string | null;
  /** Second passes, one per ReaderSummary; null = not read. */
  readings: (ReadingDetail | null)[];
}

export interface ReadingDetail {
  /** The description that was read; null = the response has none. */
  description: string | null;
  /** The reader's response; null = not made (see error). */
  text: string | null;
  /** As those of a response. */
  pieces: Piece[];
  error: string | null;
  finish_reason: string;
  prompt_tokens: number | null;
  completion_tokens: number | null;
  seconds: number | null;
  /** One per JudgeSummary of the run; null = no verdict by it. */
  judgments: (JudgmentDetail | null)[];
}

export interface JudgmentDetail {
  outcome: "correct" | "incorrect" | "unscored";
  /** The answer that was read. */
  extracted: string | null;
  unparsed: boolean;
  reason: string | null;
  label: string | null;
  score: number | null;
  /** Rule that read the answer (docs/answers.md). */
  rule: string | null;
  /** The words that the answer was read from, in the judged text (response, or reading). */
  span: Span | null;
  /** The judging model's reply, word for word; null = a rule. */
  raw: string | null;
  model: string | null;
  /** Key of JudgeSummary.prompt_texts. */
  prompt: string | null;
  prompt_tokens: number | null;
  completion_tokens: number | null;
  cost: number | null;
}

/* ------------------------------------------------------------------ data/task-T-grams.js */

/**
 * For the search of a free text: which chunks can hold it. Searched are, lower-cased by
 * toLowerCase(): id, question, options, gold answer, response, description, reading, judges' reasons
 * and replies. Of each chunk there is a bit set of GRAM_BITS bits (base64, bit b is bit b % 8 of byte
 * b >> 3). Of each three bytes a, b, c in a row, all ASCII, of a lower-cased text, bit
 * ((a * 961 + b * 31 + c) & (GRAM_BITS - 1)) is set. A query whose ASCII trigrams are not all set in
 * a chunk is not in it; the others must be loaded and looked into.
 */
export const GRAM_BITS = 65536;
export interface TaskGrams {
  task: number;
  /** One per chunk. */
  bits: string[];
}

/* ------------------------------------------------------------------ data/train-R.js */

export interface TrainSummary {
  /** "train-R". */
  file: string;
  folder: string;
  /** "grpo" | "sft". */
  kind: string;
  model: string;
  objective: string;
  steps: number;
  last_step: number | null;
  rollouts: number;
  /** A few headline metrics: name, first value, last value. */
  ends: [string, number | null, number | null][];
}

export interface TrainIndex {
  schema: number;
  training: number;
  /** The resolved recipe, name → text. */
  recipe: [string, string][];
  /** Curves: steps may be missing in a metric (null). */
  steps: number[];
  metrics: Record<string, (number | null)[]>;
  /** Which metrics belong in one panel, in order; each ends up in at most one. */
  panels: { title: string; metrics: string[]; logarithmic: boolean }[];
  /** Rollouts: one entry per step that has some. */
  rollouts: StepRollouts[];
  /** First entry of `rollouts` of each chunk, as TaskIndex.chunks. */
  chunks: number[];
  notices: string[];
}

export interface StepRollouts {
  step: number;
  groups: number;
  responses: number;
  /** Not used in the update: count by reason ("group dropped: …", "generation failed", …). */
  excluded: [string, number][];
  reward_mean: number | null;
}

/* ------------------------------------------------------------------ data/train-R-chunk-K.js */

export interface TrainChunk {
  training: number;
  /** Index of the first entry of TrainIndex.rollouts. */
  first: number;
  steps: StepDetail[];
}

export interface StepDetail {
  step: number;
  groups: RolloutGroup[];
}

/** The responses to one prompt. */
export interface RolloutGroup {
  sample_id: string;
  question: string;
  answer: string;
  rank: number;
  /** No update was made of it; "" = used. */
  dropped: string;
  reward_mean: number | null;
  reward_std: number | null;
  responses: RolloutDetail[];
}

export interface RolloutDetail {
  index: number;
  text: string;
  pieces: Piece[];
  finish_reason: string;
  error: string | null;
  tokens: number | null;
  description: string | null;
  /** The reading (second pass). */
  reading: string | null;
  reading_finish_reason: string | null;
  reading_error: string | null;
  reading_tokens: number | null;
  /** Reward by component; null = could not be had. */
  components: [string, number | null][];
  reward: number | null;
  /** Reason by component. */
  reasons: [string, string][];
  /** Group advantage of the first pass; null = none (excluded), or not recorded. */
  advantage: number | null;
  /** Advantage of the visual reward (objective `decoupled`); null = none. */
  visual_advantage: number | null;
  /** Why it was not used; "" = used. */
  excluded: string;
}

/* ------------------------------------------------------------------ data/labels.js */

/** A labelling sheet. It tells neither model nor verdict, so that people are not led. */
export interface LabelSheet {
  schema: number;
  title: string;
  /** Under what the browser keeps the labels: the same for the same responses. */
  key: string;
  /** Name of the filled-in file. */
  file: string;
  /** Whether that file has JSON lines; else it is CSV. */
  lines: boolean;
  /** The rows as the sheet has them: column → cell. */
  rows: Record<string, unknown>[];
  /** What is shown of each row. */
  items: LabelItem[];
  notices: string[];
}

export const LABELS = ["correct", "incorrect", "unclear"] as const;
export type Label = (typeof LABELS)[number] | "";

export interface LabelItem extends Asked {
  /** Of the row, whatever the order of the sheet. */
  id: string;
  row: number;
  groups: Record<string, string>;
  images: ImageRef[];
  response: Pick<ResponseDetail, "text" | "pieces" | "finish_reason">;
  /** The reader's answer, which gets a label of its own; null = none. */
  reading: Pick<ReadingDetail, "description" | "text" | "pieces" | "finish_reason"> | null;
  /** Labels that the sheet has already: of the response, and of the reading. */
  given: [Label, Label];
}
