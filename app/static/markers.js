/** What is drawn over picture and mask, in CSS px: numbers, the chosen defect's frame, the scale bar. */

import { measured } from "./numbers.js";

const FRAME_GAP_PX = 6;
const MOST_BADGES = 300;
const BAR_PX = 120;

/** A number beside each defect, so that table and picture agree without colours. */
export function drawBadges(context, defects, viewport) {
  context.font = "600 11px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const { number, box_px: box } of defects.slice(0, MOST_BADGES)) {
    const { left, top } = onStage(box, viewport);
    const text = String(number);
    const width = Math.max(17, context.measureText(text).width + 9);
    const x = Math.max(0, left - width - 2);
    const y = Math.max(0, top - 18);
    context.fillStyle = "rgb(20 23 28 / 82%)";
    context.beginPath();
    context.roundRect(x, y, width, 17, 5);
    context.fill();
    context.fillStyle = "#fff";
    context.fillText(text, x + width / 2, y + 9);
  }
}

/** Dark in light, so that it shows on any surface. */
export function drawFrame(context, { box_px: box }, viewport) {
  const { left, top, right, bottom } = onStage(box, viewport);
  context.beginPath();
  context.roundRect(
    left - FRAME_GAP_PX, top - FRAME_GAP_PX, right - left + 2 * FRAME_GAP_PX, bottom - top + 2 * FRAME_GAP_PX, 6,
  );
  for (const [color, width] of [["#fff", 5], ["#14171c", 2]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.stroke();
  }
}

/** How long a round length is on the part; in px where the scale is not known. */
export function drawScaleBar(context, { heightPx, scale, mmPerPx }) {
  const unitPx = mmPerPx ? scale / mmPerPx : scale;
  const most = BAR_PX / unitPx;
  const decade = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].find((one) => one * decade <= most) * decade;
  const text = `${measured(length)} ${mmPerPx ? "mm" : "px"}`;
  const [x, y, width] = [22, heightPx - 22, length * unitPx];
  context.fillStyle = "rgb(20 23 28 / 72%)";
  context.beginPath();
  context.roundRect(x - 10, y - 24, Math.max(width, 40) + 20, 34, 7);
  context.fill();
  context.fillStyle = "#fff";
  context.fillRect(x, y - 2, width, 3);
  context.font = "600 12px system-ui, sans-serif";
  context.textAlign = "left";
  context.textBaseline = "alphabetic";
  context.fillText(text, x, y - 8);
}

function onStage([left, top, right, bottom], { x, y, scale }) {
  return { left: x + left * scale, top: y + top * scale, right: x + right * scale, bottom: y + bottom * scale };
}
