/** The table of defects: a row leads to the picture, and the picture to its row. */

import { byId, element, swatch } from "./dom.js";
import { certainty, measured, plural } from "./numbers.js";

/** Ten thousand rows help nobody and make a tablet stall; the JSON has them all. */
const MOST_ROWS = 500;

/** Draw the table; onChoose(defect) hears which row was chosen. */
export function renderDefects(prediction, { onChoose }) {
  const { defects } = prediction;
  if (!defects.length) {
    byId("defects").replaceChildren(element("p", { className: "note" }, "None that counts."));
    return;
  }
  const inMm = prediction.mm_per_px !== null;
  const unit = inMm ? "mm" : "px";
  const heads = [["No.", ""], ["Class", ""], ["Length", unit], ["Width", unit], ["Area", `${unit}²`], ["Sure", ""]];
  const colors = new Map(prediction.classes.map(({ id, color }) => [id, color]));
  const body = element("tbody", {}, ...defects
    .slice(0, MOST_ROWS)
    .map((defect) => row(defect, { color: colors.get(defect.class_id), inMm, onChoose })));
  body.addEventListener("keydown", moveBetweenRows);
  const total = plural(defects.length, "defect");
  byId("defects").replaceChildren(
    element("table", {}, element("thead", {}, element("tr", {}, ...heads.map(head))), body),
    element("p", { className: "note" },
      defects.length > MOST_ROWS ? `The first ${MOST_ROWS} of ${total}; the JSON has them all.` : total),
  );
}

/** Mark the row of that number (null: none); beside the picture it comes into sight, below it the picture stays. */
export function markRow(number) {
  for (const one of rows()) one.ariaCurrent = Number(one.dataset.number) === number ? "true" : null;
  if (getComputedStyle(byId("details")).overflowY === "auto") chosenRow()?.scrollIntoView({ block: "nearest" });
}

/** Go to the marked row, wherever it is. */
export function goToRow() {
  chosenRow()?.scrollIntoView({ block: "center" });
  chosenRow()?.querySelector("button").focus({ preventScroll: true });
}

/** `3 · scratch · 17.9 × 0.54 mm`. */
export function inWords({ number, class: name, ...sizes }) {
  const inMm = sizes.length_mm !== null;
  const [length, width] = inMm ? [sizes.length_mm, sizes.width_mm] : [sizes.length_px, sizes.width_px];
  return `${number} · ${name} · ${measured(length)} × ${measured(width)} ${inMm ? "mm" : "px"}`;
}

/** Fade the rows of classes whose mask is switched off. */
export function fadeRows(hiddenNames) {
  for (const one of rows()) one.classList.toggle("absent", hiddenNames.has(one.dataset.class));
}

const rows = () => byId("defects").querySelectorAll("tbody tr");
const chosenRow = () => byId("defects").querySelector("tr[aria-current]");

const head = ([name, of]) => element("th", { scope: "col" }, name, element("small", {}, of && ` ${of}`));

function row(defect, { color, inMm, onChoose }) {
  const { number, class: name } = defect;
  const sizes = inMm
    ? [defect.length_mm, defect.width_mm, defect.area_mm2]
    : [defect.length_px, defect.width_px, defect.area_px];
  const label = `Show defect ${number}, ${name}`;
  const button = element("button", { className: "number", "aria-label": label }, String(number));
  const onclick = () => {
    // Wherever in the row was clicked, the keys go on from there.
    button.focus({ preventScroll: true });
    onChoose(defect);
  };
  const node = element("tr", { onclick },
    element("td", {}, button),
    element("td", {}, element("span", { className: "named" }, swatch(color),
      element("span", {}, name, defect.touches_border ? element("small", {}, "cut by the edge") : null))),
    ...sizes.map((size) => element("td", {}, measured(size))),
    element("td", {}, certainty(defect.mean_confidence)));
  Object.assign(node.dataset, { number, class: name });
  return node;
}

function moveBetweenRows(event) {
  const row = event.target.closest("tr");
  const next = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
  if (!next) return;
  event.preventDefault();
  next.querySelector("button").focus();
}
