/* Keys and signs, in a dialog. */

import { h } from "./dom";
import { CELL_NAMES, cellIcon, VERDICT_NAMES, verdictIcon, type CellCode, type VerdictCode } from "./marks";

const KEYS: [string[], string][] = [
  [["j", "↓"], "next sample in the list"],
  [["k", "↑"], "previous sample in the list"],
  [["Enter"], "open the sample"],
  [["j", "→"], "on a sample or a training step: the next one"],
  [["k", "←"], "on a sample or a training step: the previous one"],
  [["u"], "up to the list"],
  [["/"], "search"],
  [["m"], "texts formatted, or as they are"],
  [["c"], "copy the sample as JSON"],
  [["t"], "switch the theme"],
  [["?"], "this help"],
];

export function openHelp(keys: [string[], string][] = KEYS, signs = true): void {
  const dialog = h(
    "dialog",
    { class: "help", "aria-labelledby": "help-title" },
    h(
      "div",
      { class: "tools" },
      h("h2", { id: "help-title" }, signs ? "Keys and signs" : "Keys"),
      h("span", { class: "grow" }),
      h("button", { type: "button", onclick: () => dialog.close() }, "Close"),
    ),
    h(
      "dl",
      { class: "key-list" },
      keys.map(([names, text]) =>
        h("div", null, h("dt", null, names.map((key) => h("kbd", null, key))), h("dd", null, text)),
      ),
    ),
    signs && h(
      "ul",
      { class: "signs" },
      (Object.keys(VERDICT_NAMES) as VerdictCode[]).map((code) =>
        h("li", null, verdictIcon(code), h("span", { "aria-hidden": "true" }, VERDICT_NAMES[code])),
      ),
    ),
    signs && h(
      "ul",
      { class: "signs" },
      (Object.keys(CELL_NAMES) as CellCode[]).map((code) =>
        h("li", null, cellIcon(code), h("span", { "aria-hidden": "true" }, CELL_NAMES[code])),
      ),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
