/* Free text: at once in the list's columns, then in the full texts of the chunks that can hold it. */

import { chunkOf, loadGrams, loadTaskChunk } from "./data";
import {
  GRAM_BITS,
  type JudgmentDetail,
  type SampleDetail,
  type TaskIndex,
  type TaskSummary,
} from "./types";

/** Lower-cased id, title, gold answer and read answers of each sample. */
function columnTexts(index: TaskIndex): string[] {
  const known = cache.get(index);
  if (known) return known;
  const runs = index.runs.map((run) => ({
    values: run.answer.values.map((value) => value.toLowerCase()),
    codes: run.answer.codes,
    n: Math.round(run.answer.codes.length / Math.max(1, index.ids.length)),
  }));
  const found = index.ids.map((id, sample) => {
    let text = `${id}\n${index.titles[sample]}\n${index.golds[sample] ?? ""}`.toLowerCase();
    for (const { values, codes, n } of runs) {
      for (let at = sample * n; at < sample * n + n; at++) text += `\n${values[codes[at]!] ?? ""}`;
    }
    return text;
  });
  cache.set(index, found);
  return found;
}
const cache = new WeakMap<TaskIndex, string[]>();

/** Samples whose columns hold the text. */
export function searchColumns(index: TaskIndex, text: string): Uint8Array {
  const wanted = text.toLowerCase();
  return Uint8Array.from(columnTexts(index), (known) => (known.includes(wanted) ? 1 : 0));
}

/**
 * Look into the full texts; `hits` grows in place.
 *
 * @param progress Called after each chunk with how many are done, of how many.
 */
export async function searchTexts(
  task: TaskSummary,
  index: TaskIndex,
  text: string,
  hits: Uint8Array,
  signal: AbortSignal,
  progress: (done: number, total: number) => void,
): Promise<void> {
  const wanted = text.toLowerCase();
  const chunks = await possible(task, index, wanted);
  for (let i = 0; i < chunks.length; i++) {
    if (signal.aborted) return;
    const chunk = await loadTaskChunk(task.file, chunks[i]!);
    if (signal.aborted) return;
    chunk.samples.forEach((sample, k) => {
      if (holds(sample, wanted)) hits[chunk.first + k] = 1;
    });
    progress(i + 1, chunks.length);
    await new Promise((resolve) => setTimeout(resolve)); // stay fluid
  }
}

async function possible(task: TaskSummary, index: TaskIndex, text: string): Promise<number[]> {
  const all = index.chunks.map((_, i) => i);
  const wanted = grams(text);
  if (!index.grams || !wanted.length) return all;
  const { bits } = await loadGrams(task.file);
  return all.filter((chunk) => {
    const set = atob(bits[chunk] ?? "");
    return !set || wanted.every((bit) => set.charCodeAt(bit >> 3) & (1 << (bit & 7)));
  });
}

function grams(text: string): number[] {
  const found: number[] = [];
  for (let i = 0; i + 2 < text.length; i++) {
    const [a, b, c] = [text.charCodeAt(i), text.charCodeAt(i + 1), text.charCodeAt(i + 2)];
    if ((a | b | c) < 128) found.push((a * 961 + b * 31 + c) & (GRAM_BITS - 1));
  }
  return found;
}

/** Whether a text of a sample holds the lower-cased words. */
function holds(sample: SampleDetail, wanted: string): boolean {
  const has = (text: string | null | undefined): boolean =>
    Boolean(text && text.toLowerCase().includes(wanted));
  const judged = (all: (JudgmentDetail | null)[]): boolean =>
    all.some((one) => one && (has(one.reason) || has(one.raw)));
  const question = (sample.question ?? []).filter((part) => typeof part === "string").join(" ");
  if (has(sample.id) || has(question) || has(sample.answer)) return true;
  if (sample.choices?.some(has)) return true;
  return sample.runs.some((run) =>
    run?.responses.some(
      (response) =>
        has(response.text) ||
        has(response.caption) ||
        judged(response.judgments) ||
        response.readings.some(
          (reading) =>
            reading && (has(reading.description) || has(reading.text) || judged(reading.judgments)),
        ),
    ),
  );
}

/** The details of one sample. */
export async function loadSample(
  task: TaskSummary,
  index: TaskIndex,
  sample: number,
): Promise<SampleDetail> {
  const chunk = await loadTaskChunk(task.file, chunkOf(index.chunks, sample));
  const found = chunk.samples[sample - chunk.first];
  if (!found) throw new Error(`sample ${sample} is not in its chunk`);
  return found;
}
