/* Elements without a framework. Texts become text nodes; nothing here parses markup. */

export type Child = Node | string | number | null | undefined | false | Child[];
type Handler = (event: Event) => void;
export type Props = Record<string, string | number | boolean | null | undefined | Handler>;

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. Functions are listeners (`onclick`), true is an empty attribute. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props?: Props | null,
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  set(element, props);
  append(element, children);
  return element;
}

/** An SVG element. */
export function s(tag: string, props?: Props | null, ...children: Child[]): SVGElement {
  const element = document.createElementNS(SVG, tag) as SVGElement;
  set(element, props);
  append(element, children);
  return element;
}

function set(element: Element, props?: Props | null): void {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

export function append(element: Element, children: Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : String(child));
  }
}

/** Text that only a screen reader reads. */
export function hidden(text: string): HTMLElement {
  return h("span", { class: "sr" }, text);
}

/** A heading and its section. */
export function section(title: string, props: Props, ...children: Child[]): HTMLElement {
  const id = `s-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
  return h(
    "section",
    { "aria-labelledby": id, ...props },
    h("h2", { id }, title),
    ...children,
  );
}

/** A button that is on or off. */
export function toggle(pressed: boolean, props: Props, ...children: Child[]): HTMLButtonElement {
  return h("button", { type: "button", "aria-pressed": String(pressed), ...props }, ...children);
}

/** Select one of several. */
export function select(
  label: string,
  options: [string, string][],
  value: string,
  change: (value: string) => void,
): HTMLElement {
  const id = `select-${++selects}`;
  const box = h("select", {
    id,
    onchange: (event) => change((event.target as HTMLSelectElement).value),
  });
  for (const [key, text] of options) {
    box.append(h("option", { value: key, selected: key === value }, text));
  }
  return h("div", { class: "field" }, h("label", { class: "label", for: id }, label), box);
}
let selects = 0;

/** Announce something to screen readers and show it for a moment. */
export function say(text: string): void {
  let box = document.getElementById("say");
  if (!box) {
    box = h("div", { id: "say", role: "status" });
    document.body.append(box);
  }
  box.textContent = text;
  box.classList.add("shown");
  window.clearTimeout(Number(box.dataset["timer"]));
  const shown = box;
  box.dataset["timer"] = String(window.setTimeout(() => shown.classList.remove("shown"), 2500));
}

/** Copy a text, and say so. */
export async function copy(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "sr", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(`${what} copied`);
}
