/** The picture with its mask: one canvas of the size it is seen at, drawn anew when anything changes. */

import { listenForGestures } from "./gestures.js";
import { defectAt } from "./hit.js";
import { drawBadges, drawFrame, drawScaleBar } from "./markers.js";
import { shownIds, tint } from "./tint.js";
import { Viewport } from "./viewport.js";

const REACH_CSS_PX = 10;
const CRISP_FROM_SCALE = 3;
const GLIDE_MS = 220;

export class Stage {
  #canvas;
  #context;
  #viewport = new Viewport();
  #hooks;
  #picture = null;
  #mask = null;
  #tinted = null;
  #prediction = null;
  #shown = new Uint8Array(256);
  #frame = null;
  #glide = null;
  #looks = { opacity: 0.55, hasNumbers: true, isMaskOn: true, chosen: null };

  /** onPoint(defect or null) hears where was clicked, onZoom(scale) each new scale in CSS px per px. */
  constructor(canvas, { onPoint, onZoom }) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#hooks = { onPoint, onZoom };
    new ResizeObserver(() => this.#resize()).observe(canvas);
    listenForGestures(canvas, {
      pan: (dx, dy) => this.#change(() => this.#viewport.panBy(dx, dy)),
      zoom: (factor, point) => this.zoomBy(factor, point),
      fit: () => this.fit(),
      point: (place) => this.#hooks.onPoint(this.#defectAt(place)),
      hover: (place) => canvas.classList.toggle("on-defect", this.#defectAt(place) !== null),
    });
  }

  /** Show an ImageBitmap (null: nothing) of a new image; the mask of the one before goes. */
  showPicture(picture) {
    this.#picture?.close();
    this.#picture = picture;
    this.clearMask();
    this.#change(() => picture && this.#viewport.setImage(picture.width, picture.height));
  }

  clearMask() {
    this.#mask = this.#tinted = this.#prediction = null;
    this.#draw();
  }

  /** Lay a mask ({width, height, ids}) over it; its size is that of the upright image, whatever the picture's. */
  showMask(mask, prediction, hiddenIds) {
    this.#mask = mask;
    this.#prediction = prediction;
    this.#change(() => this.#viewport.setImage(mask.width, mask.height));
    this.hideClasses(hiddenIds);
  }

  hideClasses(hiddenIds) {
    if (!this.#mask) return;
    const classes = this.#prediction.classes;
    this.#shown = shownIds(classes, hiddenIds);
    this.#tinted = tint(this.#mask, { classes, shown: this.#shown });
    this.#draw();
  }

  /** Any of opacity (0-1), hasNumbers, isMaskOn, chosen (a defect or null). */
  look(looks) {
    Object.assign(this.#looks, looks);
    this.#draw();
  }

  get isMaskOn() {
    return this.#looks.isMaskOn;
  }

  fit() {
    this.#glideTo(() => this.#viewport.fit());
  }

  zoomBy(factor, point) {
    this.#change(() => this.#viewport.zoomBy(factor, point));
  }

  zoomTo(defect) {
    this.#glideTo(() => this.#viewport.showBox(defect.box_px));
  }

  /** The picture in full size with the mask as it is seen now: a JPEG blob. Throws where the browser has no room. */
  async toJpeg() {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: this.#mask.width, height: this.#mask.height });
    const context = canvas.getContext("2d");
    if (context) this.#drawPicture(context);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.93));
    if (!blob) throw new Error("This image is too large for this browser to draw; ask the service for the overlay.");
    return blob;
  }

  #defectAt(place) {
    if (!this.#mask || !this.#looks.isMaskOn) return null;
    return defectAt(this.#viewport.toImage(place), {
      mask: this.#mask,
      defects: this.#prediction.defects,
      shown: this.#shown,
      reachPx: REACH_CSS_PX / this.#viewport.scale,
    });
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!width || !height) return;
    this.#canvas.width = Math.round(width * devicePixelRatio);
    this.#canvas.height = Math.round(height * devicePixelRatio);
    this.#viewport.setStage(width, height);
    // At once: a canvas is cleared by its new size and would flicker until the next frame.
    this.#drawNow();
  }

  #change(how) {
    cancelAnimationFrame(this.#glide);
    how();
    this.#draw();
  }

  /** Move there in a moment, so that the eye can follow. */
  #glideTo(how) {
    const viewport = this.#viewport;
    const from = viewport.place;
    this.#change(how);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    const to = viewport.place;
    const start = performance.now();
    const step = (now) => {
      const done = Math.min(1, Math.max(0, (now - start) / GLIDE_MS));
      const share = 1 - (1 - done) ** 3;
      const between = (key) => from[key] + (to[key] - from[key]) * share;
      viewport.place = { scale: between("scale"), x: between("x"), y: between("y") };
      if (done < 1) this.#glide = requestAnimationFrame(step);
      this.#draw();
    };
    viewport.place = from;
    this.#glide = requestAnimationFrame(step);
  }

  #draw() {
    this.#frame ??= requestAnimationFrame(() => this.#drawNow());
  }

  #drawNow() {
    cancelAnimationFrame(this.#frame);
    this.#frame = null;
    const [context, viewport, looks] = [this.#context, this.#viewport, this.#looks];
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    // A finger that swipes over a picture shown whole scrolls the page; over one zoomed into, it moves the picture.
    this.#canvas.style.touchAction = !this.#picture || viewport.isFitted ? "pan-y" : "none";
    this.#hooks.onZoom(this.#picture || this.#mask ? viewport.scale : null);
    if (!this.#picture && !this.#mask) return;
    const { scale, x, y } = viewport;
    const ratio = devicePixelRatio;
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
    context.imageSmoothingEnabled = ratio * scale < CRISP_FROM_SCALE;
    this.#drawPicture(context, context.imageSmoothingEnabled && scale < 1);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (!this.#prediction) return;
    if (looks.hasNumbers && looks.isMaskOn) {
      drawBadges(context, this.#prediction.defects.filter((defect) => this.#shown[defect.class_id]), viewport);
    }
    if (looks.chosen) drawFrame(context, looks.chosen, viewport);
    drawScaleBar(context, { heightPx: this.#canvas.clientHeight, scale, mmPerPx: this.#prediction.mm_per_px });
  }

  #drawPicture(context, smoothMask = false) {
    const { width, height } = this.#mask ?? this.#picture;
    if (this.#picture) context.drawImage(this.#picture, 0, 0, width, height);
    if (!this.#tinted || !this.#looks.isMaskOn) return;
    context.imageSmoothingEnabled = smoothMask;
    context.globalAlpha = this.#looks.opacity;
    context.drawImage(this.#tinted, 0, 0, width, height);
    context.globalAlpha = 1;
  }
}
