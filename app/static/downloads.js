/** Results as files. */

import { fromBase64 } from "./base64.js";
import { element } from "./dom.js";

/** The mask as the service sent it: an indexed PNG, ids inside, colours for the eye. */
export function saveMask({ name, prediction }) {
  save(new Blob([fromBase64(prediction.mask.data)], { type: "image/png" }), `${stem(name)}_mask.png`);
}

export function saveOverlay({ name }, jpeg) {
  save(jpeg, `${stem(name)}_overlay.jpg`);
}

/** The whole answer of the service, mask included. */
export function saveJson({ name, prediction }) {
  save(new Blob([JSON.stringify(prediction, null, 2)], { type: "application/json" }), `${stem(name)}.json`);
}

function save(blob, name) {
  const address = URL.createObjectURL(blob);
  element("a", { href: address, download: name }).click();
  // Some browsers begin to read only after the click has returned.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

const stem = (name) => name.replace(/\.[^.]+$/, "") || "image";
