/** The verdict with its reasons, or what stands in its way: large, by shape and word before colour. */

import { byId, element, icon } from "./dom.js";
import { counted, plural } from "./numbers.js";

const MEANING = { OK: "Good part", NG: "Not good", REVIEW: "A person must decide" };

/** Fill the card for an item of the queue (null: none yet); `onRetry` is the button after an error. */
export function renderVerdict(item, { onRetry }) {
  const card = byId("verdict");
  const kind = item?.prediction?.verdict.toLowerCase() ?? item?.state ?? "none";
  card.className = `card verdict ${kind}`;
  if (!item) card.replaceChildren(element("p", { className: "note" }, "The verdict and its reasons appear here."));
  else if (item.state === "done") card.replaceChildren(...ruling(item));
  else if (item.state === "failed") card.replaceChildren(...trouble(item, onRetry));
  else card.replaceChildren(...delay(item));
}

/** One sentence for those who hear the page. */
export function spokenVerdict({ name, prediction, problem }) {
  if (problem) return `${name}: ${problem.message}. ${problem.advice}`;
  const { verdict, defects, reasons } = prediction;
  return [`${name}: ${verdict}, ${MEANING[verdict]}`, plural(defects.length, "defect"), ...reasons].join(". ");
}

function ruling(item) {
  const { verdict, reasons, defects } = item.prediction;
  const lines = reasons.length ? reasons : [defects.length ? "Nothing that counts." : "No defect found."];
  return [
    element("div", { className: "sign-and-word" }, icon(verdict.toLowerCase()),
      element("h2", {}, verdict, element("small", {}, MEANING[verdict]))),
    nameOf(item),
    element("ul", { className: "reasons" }, ...lines.map((line) => element("li", {}, line))),
  ];
}

function delay(item) {
  const words = item.state === "busy" ? "Inspecting …" : "Waiting its turn";
  return [element("h2", { className: "waiting-word" }, words), nameOf(item)];
}

function trouble({ name, problem }, onRetry) {
  const { message, advice, detail, errors, reference } = problem;
  return [
    element("h2", {}, message),
    nameOf({ name }),
    element("p", {}, advice),
    detail || errors.length
      ? element("div", { className: "said" }, element("p", {}, detail),
          errors.length ? element("ul", {}, ...errors.map((line) => element("li", {}, line))) : null)
      : null,
    reference ? element("p", { className: "note" }, "Number for questions: ", element("code", {}, reference)) : null,
    element("button", { className: "primary", onclick: onRetry }, "Try again"),
  ].filter(Boolean);
}

function nameOf({ name, prediction }) {
  const { width_px: width, height_px: height } = prediction?.image ?? {};
  const size = prediction ? ` · ${counted(width)} × ${counted(height)} px` : "";
  return element("p", { className: "note name" }, name + size);
}
