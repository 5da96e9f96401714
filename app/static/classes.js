/** The classes of defects, each with a switch for its part of the mask. */

import { byId, element, swatch } from "./dom.js";
import { measured, percent } from "./numbers.js";

/** List them; onToggle(class name, isShown) hears the switches. `hiddenNames`: a Set of those switched off. */
export function renderClasses(prediction, { hiddenNames, onToggle }) {
  const defects = prediction.classes.filter(({ role }) => role === "defect");
  const rows = defects.map((one) => row(one, { isShown: !hiddenNames.has(one.name), onToggle }));
  byId("classes").replaceChildren(...rows);
}

function row({ name, color, pixels, share, area_mm2: areaMm2 }, { isShown, onToggle }) {
  const box = element("input", { type: "checkbox", checked: isShown, onchange: () => onToggle(name, box.checked) });
  const amounts = [areaMm2 === null ? null : `${measured(areaMm2)} mm²`, percent(share)];
  const amount = pixels ? amounts.filter(Boolean).join(" · ") : "none";
  return element("li", { className: pixels ? "" : "absent" },
    element("label", { className: "check" }, box, swatch(color), element("span", { className: "grow" }, name)),
    element("span", { className: "amount" }, amount));
}
