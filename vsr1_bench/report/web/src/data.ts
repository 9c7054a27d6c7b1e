/*
 * Load the files of data/. A page from file:// cannot fetch, so each file is a script that calls
 * `vsr1_data(name, base64 of gzip of JSON)`. Chunks are kept while they are used.
 */

import type { LabelSheet, Overview, TaskChunk, TaskGrams, TaskIndex, TrainChunk, TrainIndex } from "./types";

const NAME = /^[a-z0-9-]+$/;
const KEPT_CHUNKS = 24;

const waiting = new Map<string, (payload: string) => void>();
const loaded = new Map<string, Promise<unknown>>();

(window as unknown as Record<string, unknown>)["vsr1_data"] = (name: string, payload: string) => {
  waiting.get(name)?.(payload);
  waiting.delete(name);
};

/* Where the policy of the page requires trusted types, this is the only way to load a script. */
interface Types {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): {
    createScriptURL(url: string): unknown;
  };
}
const types = (window as unknown as { trustedTypes?: Types }).trustedTypes;
const policy = types?.createPolicy("vsr1-data", { createScriptURL: fileOf });

function fileOf(name: string): string {
  if (!NAME.test(name)) throw new TypeError(`not a file of the report: ${name}`);
  return `data/${name}.js`;
}

function load<T>(name: string): Promise<T> {
  const known = loaded.get(name);
  if (known) {
    loaded.delete(name); // the most recently used one is the last
    loaded.set(name, known);
    return known as Promise<T>;
  }
  const promise = read(name).then((text) => JSON.parse(text) as T);
  loaded.set(name, promise);
  promise.catch(() => loaded.delete(name));
  const chunks = [...loaded.keys()].filter((key) => key.includes("-chunk-"));
  for (const old of chunks.slice(0, Math.max(0, chunks.length - KEPT_CHUNKS))) loaded.delete(old);
  return promise;
}

function read(name: string): Promise<string> {
  return new Promise<string>((resolve, reject) => {
    const script = document.createElement("script");
    waiting.set(name, resolve);
    script.src = (policy ? policy.createScriptURL(name) : fileOf(name)) as string;
    script.onerror = () => {
      waiting.delete(name);
      script.remove();
      reject(new Error(`data/${name}.js is missing beside index.html`));
    };
    script.onload = () => {
      script.remove();
      if (waiting.delete(name)) reject(new Error(`data/${name}.js holds no data`));
    };
    document.head.append(script);
  }).then(inflate);
}

async function inflate(payload: string): Promise<string> {
  const binary = atob(payload);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

export const loadOverview = (): Promise<Overview> => load<Overview>("overview");
export const loadLabels = (): Promise<LabelSheet> => load<LabelSheet>("labels");
export const loadTask = (file: string): Promise<TaskIndex> => load<TaskIndex>(file);
export const loadGrams = (file: string): Promise<TaskGrams> => load<TaskGrams>(`${file}-grams`);
export const loadTrain = (file: string): Promise<TrainIndex> => load<TrainIndex>(file);

export function loadTaskChunk(file: string, chunk: number): Promise<TaskChunk> {
  return load<TaskChunk>(`${file}-chunk-${chunk}`);
}

export function loadTrainChunk(file: string, chunk: number): Promise<TrainChunk> {
  return load<TrainChunk>(`${file}-chunk-${chunk}`);
}

/** Which chunk holds an entry: the last one that starts at or before it. */
export function chunkOf(chunks: readonly number[], entry: number): number {
  let low = 0;
  let high = chunks.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (chunks[middle]! <= entry) low = middle;
    else high = middle - 1;
  }
  return low;
}
