/** Whether the service is ready, and which recipes it has. */

import { checkReady, fetchRecipes } from "./api.js";
import { byId, element } from "./dom.js";

const AGAIN_MS = 3000;
let again = null;

/** Show whether it is ready; keep asking while it is not. */
export async function watchReadiness() {
  const badge = byId("service");
  // Called again while it keeps asking: one asker is enough.
  clearTimeout(again);
  try {
    await checkReady();
    badge.className = "service ready";
    badge.textContent = "Ready";
  } catch (problem) {
    badge.className = "service unready";
    const text = problem.status ? `Not ready: ${problem.detail || "starting"}` : problem.message;
    // The same words again would be read aloud again.
    if (badge.textContent !== text) badge.textContent = text;
    again = setTimeout(watchReadiness, AGAIN_MS);
  }
}

/** Fill the selector, the default first chosen. Throws Problem. */
export async function loadRecipes() {
  const recipes = await fetchRecipes();
  const chosen = byId("recipe").value;
  byId("recipe").replaceChildren(...recipes.map(({ name, is_default: isDefault }) =>
    element("option", { value: name, selected: chosen ? name === chosen : isDefault }, name)));
  byId("recipe-field").hidden = !recipes.length;
}

/** The recipe in force; empty: the service's own choice. */
export const chosenRecipe = () => byId("recipe").value;
