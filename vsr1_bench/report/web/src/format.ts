/* Numbers as texts. */

const GROUPED = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** 12345 -> "12,345". */
export function count(value: number): string {
  return GROUPED.format(value);
}

/** "1 sample", "2 samples". */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** A share in percent, one decimal: 0.7291 -> "72.9". */
export function percent(share: number | null | undefined, digits = 1): string {
  if (share === null || share === undefined || !Number.isFinite(share)) return "–";
  return minus((100 * share).toFixed(digits));
}

/** A number of the given decimals with a proper minus sign. */
export function fixed(value: number | null | undefined, digits: number): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return minus(value.toFixed(digits));
}

/** Points with their sign: 0.123 -> "+12.3". */
export function points(share: number | null | undefined): string {
  if (share === null || share === undefined || !Number.isFinite(share)) return "–";
  const text = percent(share);
  return share > 0 ? `+${text}` : text;
}

/** Four significant digits, for curves and rewards. */
export function short(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return minus(value.toExponential(2));
  if (size >= 1000) return minus(GROUPED.format(value));
  return minus(String(Number(value.toPrecision(4))));
}

export function pValue(p: number | null): string {
  if (p === null) return "–";
  return p < 0.0001 ? "< 0.0001" : p.toFixed(4);
}

export function seconds(value: number | null): string {
  if (value === null) return "–";
  if (value < 100) return `${value.toPrecision(2)} s`;
  return `${count(Math.round(value / 60))} min`;
}

export function minus(text: string): string {
  return text.replace(/^-/, "−");
}

/** UTC time stamp without fractions: "2026-11-29 12:31 UTC". */
export function when(iso: string): string {
  const found = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)/.exec(iso);
  return found ? `${found[1]} ${found[2]} UTC` : iso;
}
