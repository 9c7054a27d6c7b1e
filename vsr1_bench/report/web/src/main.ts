/* The frame: header, pages by address, keys, theme. */

import { loadLabels, loadOverview } from "./data";
import { h, say } from "./dom";
import { openHelp } from "./help";
import { comparePage } from "./pages/compare";
import { labelPage } from "./pages/label";
import { overviewPage } from "./pages/overview";
import { samplePage } from "./pages/sample";
import { taskPage } from "./pages/task";
import { trainPage } from "./pages/train";
import { oneLine } from "./plain";
import { applyTheme, setTheme, theme, type Theme } from "./preferences";
import { parseRoute, type Route } from "./route";
import type { LabelSheet, Overview } from "./types";
import type { Context, View } from "./view";

const app = document.getElementById("app")!;
const crumbs = h("nav", { "aria-label": "Where you are" });
const places = new Map<string, number>();

let overview: Overview;
/** A folder has a report or a sheet. */
let sheet: LabelSheet | null = null;
let view: View | null = null;
let turn = 0;

const home = (): string => oneLine((sheet ?? overview).title);

async function open(route: Route): Promise<View> {
  if (sheet) return labelPage(sheet, () => void draw(true));
  const context: Context = { overview, refresh: () => void draw(true) };
  switch (route.page) {
    case "overview":
      return overviewPage(context);
    case "task":
      return taskPage(context, route);
    case "sample":
      return samplePage(context, route);
    case "compare":
      return comparePage(context, route);
    case "train":
      return trainPage(context, route);
  }
}

/** Draw the page of the address. */
async function draw(stay = false): Promise<void> {
  const mine = ++turn;
  let next: View;
  try {
    next = await open(parseRoute(location.hash));
  } catch (error) {
    next = failed(error);
  }
  if (mine !== turn) return; // another page was asked for meanwhile
  view?.closed?.();
  view = next;
  document.title = next.title === home() ? next.title : `${next.title} · ${home()}`;
  crumbs.replaceChildren(
    ...[[home(), "#"] as [string, string], ...next.crumbs].map(([text, href]) =>
      h("a", { href }, text),
    ),
  );
  const scroll = stay ? scrollY : (places.get(location.hash) ?? 0);
  const focused = stay ? focusKey() : null;
  app.replaceChildren(next.element);
  app.removeAttribute("aria-busy");
  next.scrolled?.(); // a list has its height before the page scrolls to it
  scrollTo(0, scroll);
  next.scrolled?.();
  if (focused) app.querySelector<HTMLElement>(focused)?.focus({ preventScroll: true });
  else if (!stay && mine > 1) app.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true });
}

function focusKey(): string | null {
  const run = (document.activeElement as HTMLElement | null)?.dataset["run"];
  return run === undefined ? null : `[data-run="${run}"]`;
}

function failed(error: unknown): View {
  const text = error instanceof Error ? error.message : String(error);
  return {
    title: "Not found",
    crumbs: [],
    element: h(
      "div",
      { class: "page" },
      h("h1", { tabindex: "-1" }, "This page cannot be shown"),
      h("p", null, oneLine(text, 500)),
      h("p", null, h("a", { href: "#" }, "To the overview")),
    ),
  };
}

function header(): HTMLElement {
  const names: Record<Theme, string> = { auto: "Auto", light: "Light", dark: "Dark" };
  const order: Theme[] = ["auto", "light", "dark"];
  const label = (): string => `Theme: ${names[theme()]}`;
  const button = h("button", { type: "button", id: "theme", onclick: () => switchTheme() }, label());
  function switchTheme(): void {
    setTheme(order[(order.indexOf(theme()) + 1) % order.length]!);
    button.textContent = label();
  }
  return h(
    "header",
    { class: "top" },
    crumbs,
    h(
      "div",
      { class: "tools" },
      button,
      h("button", { type: "button", id: "help", onclick: help, "aria-label": "Keys and signs" }, "?"),
    ),
  );
}

function help(): void {
  openHelp(view?.keyNames, !sheet);
}

function pressed(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]")) return;
  const target = event.target as HTMLElement;
  const typing = target.matches("input, select, textarea");
  if (typing) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (event.key === "?") help();
  else if (event.key === "t") document.getElementById("theme")?.click();
  else {
    // A frame that scrolls sideways keeps its own arrows.
    if (event.key.startsWith("Arrow") && target.closest(".scroll, summary")) return;
    const act = view?.keys?.[event.key];
    if (!act) return;
    act();
  }
  event.preventDefault();
}

async function start(): Promise<void> {
  applyTheme(theme());
  history.scrollRestoration = "manual";
  app.setAttribute("aria-busy", "true");
  app.before(h("a", { class: "skip", href: "#app", onclick: skip }, "Skip to the content"), header());
  try {
    if (app.dataset["page"] === "labels") sheet = await loadLabels();
    else overview = await loadOverview();
  } catch (error) {
    app.replaceChildren(failed(error).element);
    return;
  }
  addEventListener("hashchange", (event) => {
    places.set(new URL(event.oldURL).hash, scrollY);
    void draw();
  });
  let asked = false;
  const scrolled = (): void => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      view?.scrolled?.();
    });
  };
  addEventListener("scroll", scrolled, { passive: true });
  addEventListener("resize", scrolled);
  addEventListener("keydown", pressed);
  addEventListener("beforeprint", () => view?.printed?.(true));
  addEventListener("afterprint", () => view?.printed?.(false));
  addEventListener("unhandledrejection", (event) => say(oneLine(String(event.reason))));
  await draw();
}

function skip(event: Event): void {
  event.preventDefault();
  app.querySelector<HTMLElement>("h1")?.focus();
}

void start();
