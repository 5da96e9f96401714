/** Which part of the picture the stage shows: numbers only, no drawing. */

const MOST_CSS_PX_PER_PX = 40;
const CLOSE_UP_CSS_PX_PER_PX = 16;
/** Of the stage's side, so much is the defect shown close up; the rest is its surroundings. */
const CLOSE_UP_SHARE = 0.6;

/** Image pixel (u, v) lies at (x + u·scale, y + v·scale) on the stage, in CSS px. */
export class Viewport {
  scale = 1;
  x = 0;
  y = 0;
  #stage = { width: 1, height: 1 };
  #image = { width: 1, height: 1 };

  /** The stage got another size: what was shown whole stays whole, else the middle stays where it is. */
  setStage(width, height) {
    const wasFitted = this.isFitted;
    const middle = this.toImage({ x: this.#stage.width / 2, y: this.#stage.height / 2 });
    this.#stage = { width, height };
    if (wasFitted) this.fit();
    else this.#centre(middle, this.scale);
  }

  setImage(width, height) {
    this.#image = { width, height };
    this.fit();
  }

  get isFitted() {
    return this.scale <= this.#fitScale * 1.001;
  }

  fit() {
    this.#move(this.#fitScale, 0, 0);
  }

  toImage({ x, y }) {
    return { x: (x - this.x) / this.scale, y: (y - this.y) / this.scale };
  }

  panBy(dx, dy) {
    this.#move(this.scale, this.x + dx, this.y + dy);
  }

  /** Zoom by `factor`; what lies at `point` (CSS px; the stage's middle if not given) stays there. */
  zoomBy(factor, point = { x: this.#stage.width / 2, y: this.#stage.height / 2 }) {
    const { x, y } = this.toImage(point);
    const scale = this.#inRange(this.scale * factor);
    this.#move(scale, point.x - x * scale, point.y - y * scale);
  }

  /** Show a box (left, top, right, bottom; image px) in the middle, with its surroundings. */
  showBox([left, top, right, bottom]) {
    const { width, height } = this.#stage;
    const scale = Math.min(width / (right - left), height / (bottom - top)) * CLOSE_UP_SHARE;
    const middle = { x: (left + right) / 2, y: (top + bottom) / 2 };
    this.#centre(middle, this.#inRange(Math.min(scale, CLOSE_UP_CSS_PX_PER_PX)));
  }

  /** The same view as plain numbers, to move from one to another. */
  get place() {
    return { scale: this.scale, x: this.x, y: this.y };
  }

  set place({ scale, x, y }) {
    this.#move(scale, x, y);
  }

  get #fitScale() {
    return Math.min(this.#stage.width / this.#image.width, this.#stage.height / this.#image.height);
  }

  #inRange(scale) {
    return Math.min(Math.max(scale, this.#fitScale), Math.max(MOST_CSS_PX_PER_PX, this.#fitScale));
  }

  #centre({ x, y }, scale) {
    this.#move(scale, this.#stage.width / 2 - x * scale, this.#stage.height / 2 - y * scale);
  }

  /** The picture never leaves the stage: centred where it is smaller, edge to edge where it is larger. */
  #move(scale, x, y) {
    const clamp = (offset, stage, image) =>
      image <= stage ? (stage - image) / 2 : Math.min(0, Math.max(stage - image, offset));
    this.scale = scale;
    this.x = clamp(x, this.#stage.width, this.#image.width * scale);
    this.y = clamp(y, this.#stage.height, this.#image.height * scale);
  }
}
