/*
 * Addresses of pages, in the hash, so that they work from disk:
 *
 *   #                        overview
 *   #TASK?run=0&cell=s       task, filtered
 *   #TASK/SAMPLE?run=0       sample; the filter of the list goes along, for "next"
 *   #~compare/TASK?runs=0,1  side by side
 *   #~train/0?step=12        training
 */

export type Page = "overview" | "task" | "sample" | "compare" | "train";

export interface Route {
  page: Page;
  /** Task name, or number of the training. */
  name: string;
  sample: string;
  query: URLSearchParams;
}

export function parseRoute(hash: string): Route {
  const [path = "", search = ""] = split(hash.replace(/^#/, ""), "?");
  const query = new URLSearchParams(search);
  const [first = "", rest = ""] = split(path, "/");
  if (first === "~compare") return { page: "compare", name: decode(rest), sample: "", query };
  if (first === "~train") return { page: "train", name: decode(rest), sample: "", query };
  if (first === "") return { page: "overview", name: "", sample: "", query };
  if (!path.includes("/")) return { page: "task", name: decode(first), sample: "", query };
  return { page: "sample", name: decode(first), sample: decode(rest), query };
}

function split(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** encodeURIComponent, also for lone surrogates (which become U+FFFD). */
function encode(text: string): string {
  return encodeURIComponent(text.replace(/[\ud800-\udfff]/gu, "\ufffd"));
}

type Query = URLSearchParams | Record<string, string | number | null | undefined>;

function withQuery(path: string, query?: Query): string {
  const found = new URLSearchParams();
  const entries = query instanceof URLSearchParams ? [...query] : Object.entries(query ?? {});
  for (const [name, value] of entries) {
    if (value !== null && value !== undefined && value !== "") found.append(name, String(value));
  }
  const text = found.toString().replaceAll("%2C", ",");
  return `#${path}${text ? `?${text}` : ""}`;
}

export const toTask = (task: string, query?: Query): string => withQuery(encode(task), query);

export function toSample(task: string, sample: string, query?: Query): string {
  return withQuery(`${encode(task)}/${encode(sample)}`, query);
}

export function toCompare(task: string, runs: readonly number[], query?: Query): string {
  const all = new URLSearchParams(query instanceof URLSearchParams ? query : undefined);
  all.set("runs", runs.join(","));
  return withQuery(`~compare/${encode(task)}`, all);
}

export const toTrain = (training: number, query?: Query): string =>
  withQuery(`~train/${training}`, query);

/** Change the address without a new page: typing replaces it, a click adds to the history. */
export function rewrite(hash: string, push: boolean): void {
  if (push) history.pushState(null, "", hash);
  else history.replaceState(null, "", hash);
}
