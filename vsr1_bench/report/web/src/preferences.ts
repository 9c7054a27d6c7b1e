/* What a reader chose: theme, and texts as Markdown or as they are. */

export type Theme = "auto" | "light" | "dark";

/* Some browsers keep no storage for pages from disk. */
function stored(name: string): string | null {
  try {
    return localStorage.getItem(`vsr1-${name}`);
  } catch {
    return null;
  }
}

function store(name: string, value: string): void {
  try {
    localStorage.setItem(`vsr1-${name}`, value);
  } catch {
    // It holds for this page then.
  }
}

let formattedNow = stored("formatted") !== "no";

export const formatted = (): boolean => formattedNow;

export function setFormatted(on: boolean): void {
  formattedNow = on;
  store("formatted", on ? "yes" : "no");
}

export function theme(): Theme {
  const known = stored("theme") ?? document.documentElement.dataset["theme"];
  return known === "light" || known === "dark" ? known : "auto";
}

export function setTheme(value: Theme): void {
  store("theme", value);
  applyTheme(value);
}

export function applyTheme(value: Theme): void {
  if (value === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = value;
}
