/** The API key: kept for this tab alone, asked for only when the service wants one. */

import { byId } from "./dom.js";

const NAME = "segnet.api-key";

/** The headers that carry the key, if there is one. */
export function keyHeaders() {
  const key = sessionStorage.getItem(NAME);
  return key ? { "X-API-Key": key } : {};
}

/** Show the field; `onKey` is called each time a key was given. */
export function askForKey(onKey) {
  const form = byId("key-form");
  const field = byId("key");
  if (sessionStorage.getItem(NAME)) {
    byId("key-help").textContent = "The service does not accept this key. Check it, or ask for a new one.";
  }
  form.hidden = false;
  field.focus();
  form.onsubmit = (event) => {
    event.preventDefault();
    sessionStorage.setItem(NAME, field.value.trim());
    field.value = "";
    form.hidden = true;
    onKey();
  };
}
