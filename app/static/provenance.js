/** Which model, recipe and file made a result: what an auditor asks for. */

import { byId, element } from "./dom.js";
import { bytes, measured } from "./numbers.js";

const DIGEST_SHOWN = 16;

export function renderProvenance({ id, model, provider, recipe, image, mm_per_px: mmPerPx, timings_ms: timings }) {
  const facts = [
    ["Model", `${model.name} ${model.version}`.trim(), model.sha256],
    ["Recipe", recipe?.name, recipe?.sha256],
    ["Runs on", provider.replace(/ExecutionProvider$/, "")],
    ["Scale", mmPerPx === null ? "not known: sizes in px" : `${measured(mmPerPx)} mm per px`],
    ["File", `${image.format}, ${image.bit_depth} bit, ${bytes(image.bytes)}`, image.sha256],
    ["Time", Object.entries(timings).map(([stage, ms]) => `${stage} ${measured(ms)} ms`).join(", ")],
    ["Request", id],
  ];
  byId("provenance").replaceChildren(...facts.filter(([, text]) => text).flatMap(([name, text, digest]) => [
    element("dt", {}, name),
    element("dd", {}, text,
      digest ? element("code", { title: digest }, `sha256 ${digest.slice(0, DIGEST_SHOWN)}…`) : null),
  ]));
}
