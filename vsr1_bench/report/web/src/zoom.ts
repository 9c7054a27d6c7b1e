/* An image in a dialog: wheel, buttons and keys zoom, dragging moves. */

import { h } from "./dom";

const STEP = 1.4;

export function openImage(src: string, label: string): void {
  const image = h("img", { src, alt: label, draggable: "false" });
  let scale = 1;
  let [x, y] = [0, 0];
  const place = (): void => {
    image.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    image.classList.toggle("pixels", image.naturalWidth * 3 < image.clientWidth * scale);
    shown.textContent = `${Math.round(100 * scale)} %`;
  };
  const zoom = (factor: number): void => {
    scale = Math.max(1, Math.min(40, scale * factor));
    if (scale === 1) [x, y] = [0, 0];
    place();
  };
  const shown = h("output", null, "100 %");
  const button = (text: string, name: string, act: () => void): HTMLElement =>
    h("button", { type: "button", "aria-label": name, onclick: act }, text);
  const stage = h("div", { class: "stage" }, image);
  const dialog = h(
    "dialog",
    { class: "zoom", "aria-label": label },
    h(
      "div",
      { class: "tools" },
      button("−", "Smaller", () => zoom(1 / STEP)),
      shown,
      button("+", "Larger", () => zoom(STEP)),
      button("1:1", "Fit", () => zoom(0)),
      h("span", { class: "grow" }),
      button("Close", "Close", () => dialog.close()),
    ),
    stage,
  );
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY < 0 ? STEP : 1 / STEP);
  });
  stage.addEventListener("pointerdown", (event) => stage.setPointerCapture(event.pointerId));
  stage.addEventListener("pointermove", (event) => {
    if (!event.buttons || scale === 1) return;
    x += event.movementX;
    y += event.movementY;
    place();
  });
  stage.addEventListener("dblclick", () => zoom(STEP * STEP));
  dialog.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "+" || event.key === "=") zoom(STEP);
    if (event.key === "-") zoom(1 / STEP);
    if (event.key === "0") zoom(0);
  });
  dialog.addEventListener("close", () => dialog.remove());
  image.addEventListener("load", place);
  document.body.append(dialog);
  dialog.showModal();
}
