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
  const rows = defects
    .slice(0, MOST_ROWS)
    .map((defect) => row(defect, { color: colors.get(defect.class_id), inMm, onChoose }));
  const body = element("tbody", {}, ...rows);
  body.addEventListener("keydown", moveBetweenRows);
  const total = plural(defects.length, "defect");
  byId("defects").replaceChildren(
    element("table", {}, element("thead", {}, element("tr", {}, ...heads.map(head))), body),
    element("p", { className: "note" },
      defects.length > MOST_ROWS ? `The first ${MOST_ROWS} of ${total}; the JSON has them all.` : total),
  );
}

/** Mark the row of that number (null: none), and bring it into sight. */
export function markRow(number) {
  for (const one of byId("defects").querySelectorAll("tbody tr")) {
    const isChosen = Number(one.dataset.number) === number;
    one.ariaCurrent = isChosen ? "true" : null;
    if (isChosen) one.scrollIntoView({ block: "nearest" });
  }
}

/** Fade the rows of classes whose mask is switched off. */
export function fadeRows(hiddenNames) {
  for (const one of byId("defects").querySelectorAll("tbody tr")) {
    one.classList.toggle("absent", hiddenNames.has(one.dataset.class));
  }
}

const head = ([name, of]) => element("th", { scope: "col" }, name, element("small", {}, of && ` ${of}`));

function row(defect, { color, inMm, onChoose }) {
  const { number, class: name } = defect;
  const sizes = inMm
    ? [defect.length_mm, defect.width_mm, defect.area_mm2]
    : [defect.length_px, defect.width_px, defect.area_px];
  const node = element("tr", { onclick: () => onChoose(defect) },
    element("td", {},
      element("button", { className: "number", "aria-label": `Show defect ${number}, ${name}` }, String(number))),
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
