/** The strip of images to step through, each with its verdict. */

import { byId, element, icon } from "./dom.js";
import { plural } from "./numbers.js";

const THUMBNAIL_PX = 144;

export class Strip {
  #queue;
  #entries = new Map();

  constructor(queue) {
    this.#queue = queue;
    byId("previous").onclick = () => queue.step(-1);
    byId("next").onclick = () => queue.step(1);
    byId("remove").onclick = () => queue.remove([queue.current]);
    byId("clear").onclick = () => queue.remove(queue.items);
    byId("thumbnails").addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      queue.step(by);
      this.#entries.get(queue.current)?.querySelector("button").focus();
    });
    for (const type of ["change", "show"]) queue.addEventListener(type, () => this.#render());
  }

  #render() {
    const { items, current } = this.#queue;
    byId("strip").hidden = !items.length;
    for (const [item, node] of this.#entries) {
      if (items.includes(item)) continue;
      node.remove();
      this.#entries.delete(item);
    }
    for (const item of items) {
      if (!this.#entries.has(item)) this.#add(item);
      mark(this.#entries.get(item), item, item === current);
    }
    const at = items.indexOf(current);
    byId("previous").disabled = at <= 0;
    byId("next").disabled = at < 0 || at === items.length - 1;
    byId("tally").textContent = tally(items);
  }

  #add(item) {
    const canvas = element("canvas", { width: THUMBNAIL_PX, height: THUMBNAIL_PX, "aria-hidden": "true" });
    const button = element("button", { onclick: () => this.#queue.show(item), title: item.name }, canvas);
    const node = element("li", {}, button);
    byId("thumbnails").append(node);
    this.#entries.set(item, node);
    drawThumbnail(item.file, canvas);
  }
}

function mark(node, item, isCurrent) {
  const button = node.firstChild;
  const verdict = item.prediction?.verdict.toLowerCase();
  const state = verdict ?? item.state;
  if (button.dataset.state !== state) {
    button.querySelector(".badge")?.remove();
    const sign = verdict ?? (state === "failed" ? "failed" : null);
    button.append(element("span", { className: `badge ${state}` }, sign && icon(sign)));
    button.dataset.state = state;
    button.setAttribute("aria-label", `${item.name}: ${item.prediction?.verdict ?? state}`);
  }
  if (isCurrent && button.ariaCurrent !== "true") node.scrollIntoView({ block: "nearest", inline: "nearest" });
  button.ariaCurrent = isCurrent ? "true" : null;
}

function tally(items) {
  const verdicts = items.flatMap((item) => item.prediction?.verdict ?? []);
  const count = (verdict) => verdicts.filter((one) => one === verdict).length;
  const failed = items.filter((item) => item.state === "failed").length;
  const parts = ["NG", "REVIEW", "OK"].filter(count).map((verdict) => `${count(verdict)} ${verdict}`);
  if (failed) parts.push(`${failed} not inspected`);
  const done = verdicts.length + failed;
  const images = plural(items.length, "image");
  return [done === items.length ? images : `${done} of ${images}`, ...parts].join(" · ");
}

async function drawThumbnail(file, canvas) {
  try {
    // One side alone is given, so that the other follows the picture's shape.
    const picture = await createImageBitmap(file, { resizeWidth: THUMBNAIL_PX, resizeQuality: "medium" });
    const side = Math.min(picture.width, picture.height);
    const [left, top] = [(picture.width - side) / 2, (picture.height - side) / 2];
    canvas.getContext("2d").drawImage(picture, left, top, side, side, 0, 0, THUMBNAIL_PX, THUMBNAIL_PX);
    picture.close();
  } catch {
    // A format that the browser cannot show, or no image at all: the square stays plain, the service will say.
  }
}
