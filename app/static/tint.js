/** The mask as a picture: class colours where defects are, clear elsewhere. */

/** Tablets refuse canvases above this; a larger mask is painted smaller, and stays sharp enough to point at. */
const MOST_PIXELS = 16e6;

/** The ids whose pixels show, as bytes 0 or 1 by id: defects, but for those hidden. */
export function shownIds(classes, hiddenIds) {
  const shown = new Uint8Array(256);
  for (const { id, role } of classes) shown[id] = role === "defect" && !hiddenIds.has(id) ? 1 : 0;
  return shown;
}

/** {width, height, ids} → canvas. Where several pixels become one, a defect's wins over none: none gets lost. */
export function tint({ width, height, ids }, { classes, shown }) {
  const step = Math.ceil(Math.sqrt((width * height) / MOST_PIXELS));
  const canvas = document.createElement("canvas");
  canvas.width = Math.ceil(width / step);
  canvas.height = Math.ceil(height / step);
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  const pixels = new DataView(picture.data.buffer);
  const colors = new Uint32Array(256);
  for (const { id, color } of classes) colors[id] = ((color[0] << 24) | (color[1] << 16) | (color[2] << 8) | 255) >>> 0;
  for (let y = 0; y < height; y += 1) {
    const row = Math.floor(y / step) * canvas.width;
    for (let x = 0; x < width; x += 1) {
      const id = ids[y * width + x];
      if (shown[id]) pixels.setUint32(4 * (row + Math.floor(x / step)), colors[id]);
    }
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}
