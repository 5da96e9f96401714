/** The operator's page: what happens where, put together. */

import { fetchOverlay, inspect } from "./api.js";
import { listenForCamera } from "./camera.js";
import { renderClasses } from "./classes.js";
import { fadeRows, goToRow, inWords, markRow, renderDefects } from "./defects_table.js";
import { byId } from "./dom.js";
import { saveJson, saveMask, saveOverlay } from "./downloads.js";
import { listenForFiles } from "./intake.js";
import { askForKey } from "./key.js";
import { readIds } from "./mask_png.js";
import { percent, plural } from "./numbers.js";
import { Problem } from "./problems.js";
import { renderProvenance } from "./provenance.js";
import { Queue } from "./queue.js";
import { chosenRecipe, loadRecipes, watchReadiness } from "./service.js";
import { Stage } from "./stage.js";
import { Strip } from "./strip.js";
import { renderVerdict, spokenVerdict } from "./verdict.js";

const BUTTON_ZOOM = 1.5;

/** Names of the classes switched off; they stay off from image to image. */
const hiddenNames = new Set();

const queue = new Queue((file, hooks) => inspect(file, { recipe: chosenRecipe(), ...hooks }));
const stage = new Stage(byId("stage"), {
  onPoint: (defect) => choose(defect),
  onZoom: (scale) => (byId("zoom").textContent = scale === null ? "–" : percent(Number(scale.toPrecision(2)))),
});
new Strip(queue);

queue.addEventListener("show", ({ detail }) => showItem(detail));
queue.addEventListener("progress", ({ detail }) => detail === queue.current && renderProgress(detail));
queue.addEventListener("locked", () => askForKey(begin));
queue.addEventListener("change", ({ detail }) => {
  if (!detail) return;
  if (detail.state === "done" || detail.state === "failed") byId("live").textContent = spokenVerdict(detail);
  if (detail.state === "failed") watchReadiness();
  // A key without the right to predict: let another be given.
  if (detail.problem?.status === 403) askForKey(() => retry(detail));
  if (detail === queue.current) renderItem(detail);
});

/** Another image on show: its picture at once, its mask as soon as there is one. */
async function showItem(item) {
  if (item) item.isForeign = undefined;
  stage.showPicture(null);
  byId("welcome").hidden = item !== null;
  byId("no-preview").hidden = true;
  byId("stage").ariaLabel = item ? item.name : "No picture yet";
  renderItem(item);
  if (!item) return;
  const picture = await createImageBitmap(item.file).catch(() => null);
  if (item !== queue.current) {
    picture?.close();
    return;
  }
  item.isForeign = picture === null;
  stage.showPicture(picture);
  await layMask(item);
}

function renderItem(item) {
  const prediction = item?.prediction ?? null;
  renderVerdict(item, { onRetry: () => retry(item) });
  renderProgress(item);
  choose(null);
  byId("details").hidden = prediction === null;
  byId("stage").ariaBusy = String(item !== null && item.state !== "failed");
  document.title = item ? `${prediction?.verdict ?? "…"} · ${item.name} – Inspection` : "Inspection";
  if (prediction === null) {
    stage.clearMask();
    return;
  }
  renderClasses(prediction, { hiddenNames, onToggle: toggleClass });
  renderDefects(prediction, { onChoose: (defect) => choose(defect, { zoom: true }) });
  fadeRows(hiddenNames);
  renderProvenance(prediction);
  layMask(item);
}

function retry(item) {
  // The button that was pressed goes away; keep the keyboard's place.
  byId("verdict").focus();
  queue.redo([item]);
}

function renderProgress(item) {
  const isBusy = item?.state === "busy" || item?.state === "waiting";
  byId("busy").hidden = !isBusy;
  if (!isBusy) return;
  const isSending = item.state === "busy" && item.sent < 1 && item.waitS === null;
  const bar = byId("progress");
  if (isSending) bar.value = item.sent;
  else bar.removeAttribute("value");
  byId("busy-text").textContent =
    item.state === "waiting" ? "Waiting its turn"
    : item.waitS !== null ? `The service is busy; trying again in ${plural(item.waitS, "second")}`
    : isSending ? "Sending …" : "Inspecting …";
}

/** Mask over picture; a format that the browser cannot show (TIFF, say) is shown as the service draws it. */
async function layMask(item) {
  const { prediction } = item;
  if (!prediction || item.isForeign === undefined) return;
  const isCurrent = () => item === queue.current && item.prediction === prediction;
  try {
    const mask = await readIds(prediction.mask.data);
    if (isCurrent()) stage.showMask(mask, prediction, hiddenIds(prediction));
    if (item.isForeign) await showForeign(item, isCurrent);
    if (isCurrent() && item.isForeign) stage.showMask(mask, prediction, hiddenIds(prediction));
  } catch (error) {
    if (isCurrent()) hint(`The picture cannot be shown: ${error.message}`);
  }
  if (isCurrent()) byId("stage").ariaBusy = "false";
}

async function showForeign(item, isCurrent) {
  item.overlay ??= await fetchOverlay(item.file, { recipe: chosenRecipe() });
  const picture = await createImageBitmap(item.overlay);
  if (!isCurrent()) return;
  stage.showPicture(picture);
  hint("This browser cannot show this kind of file: what you see was drawn by the service, mask included.");
}

function hint(text) {
  byId("no-preview").textContent = text;
  byId("no-preview").hidden = false;
}

const hiddenIds = ({ classes }) => new Set(classes.filter(({ name }) => hiddenNames.has(name)).map(({ id }) => id));

function toggleClass(name, isShown) {
  if (isShown) hiddenNames.delete(name);
  else hiddenNames.add(name);
  stage.hideClasses(hiddenIds(queue.current.prediction));
  fadeRows(hiddenNames);
}

/** A defect chosen in the table or in the picture; null lets go. */
function choose(defect, { zoom = false } = {}) {
  stage.look({ chosen: defect });
  markRow(defect?.number ?? null);
  byId("chosen").hidden = defect === null;
  byId("chosen").textContent = defect ? inWords(defect) : "";
  if (!defect) return;
  if (zoom) {
    byId("stage").scrollIntoView({ block: "nearest" });
    stage.zoomTo(defect);
  } else {
    byId("live").textContent = `Defect ${inWords(defect)}`;
  }
}

function listenForControls() {
  byId("zoom-in").onclick = () => stage.zoomBy(BUTTON_ZOOM);
  byId("zoom-out").onclick = () => stage.zoomBy(1 / BUTTON_ZOOM);
  byId("zoom-fit").onclick = () => stage.fit();
  byId("opacity").oninput = ({ target }) => stage.look({ opacity: target.value / 100, isMaskOn: true });
  byId("numbers").onchange = ({ target }) => stage.look({ hasNumbers: target.checked });
  byId("recipe").onchange = () => queue.redo(queue.items);
  byId("chosen").onclick = goToRow;
  byId("download-mask").onclick = () => saveMask(queue.current);
  byId("download-json").onclick = () => saveJson(queue.current);
  byId("download-overlay").onclick = async () => {
    const item = queue.current;
    try {
      saveOverlay(item, await stage.toJpeg());
    } catch (error) {
      hint(error.message);
    }
  };
  document.querySelector("main").addEventListener("keydown", ({ key, target, ctrlKey, metaKey, altKey }) => {
    // A slider has its own use for Page Up and Page Down.
    if (ctrlKey || metaKey || altKey || target.type === "range") return;
    if (key === "PageDown") queue.step(1);
    else if (key === "PageUp") queue.step(-1);
    else if (key === "m" || key === "M") stage.look({ isMaskOn: !stage.isMaskOn });
    else if (key === "Escape") choose(null);
  });
}

/** The keys of the picture work at once after images came in. */
function addFiles(files) {
  queue.add(files);
  byId("stage").focus({ preventScroll: true });
}

/** Ask what the service offers, and go on with what waits. */
async function begin() {
  try {
    await loadRecipes();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    // Without recipes the service uses its own; only a missing key is worth stopping for.
    if (problem.status === 401) {
      askForKey(begin);
      return;
    }
  }
  queue.resume();
}

listenForControls();
listenForFiles(addFiles);
listenForCamera((file) => addFiles([file]));
renderVerdict(null, {});
watchReadiness();
begin();
