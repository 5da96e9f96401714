/** Which defect lies under a pointer. */

/**
 * The defect at or within `reachPx` of (x, y), or null; all in image px.
 *
 * mask: {width, height, ids}; shown: bytes by id, what counts.
 */
export function defectAt({ x, y }, { mask, defects, shown, reachPx }) {
  const pixel = nearestShown(Math.floor(x), Math.floor(y), { mask, shown, reachPx: Math.ceil(reachPx) });
  if (pixel === null) return null;
  const id = mask.ids[pixel.y * mask.width + pixel.x];
  const near = defects
    .filter((defect) => defect.class_id === id && isInside(pixel, defect.box_px))
    .sort((one, other) => boxArea(one.box_px) - boxArea(other.box_px));
  if (near.length < 2) return near[0] ?? null;
  // Boxes overlap, connected patches do not.
  const isWhole = (defect) => patchArea(pixel, id, { mask, box: defect.box_px }) === defect.area_px;
  // Where a recipe's zone cut the patch, no area fits: the smallest box has to do.
  return near.find(isWhole) ?? near[0];
}

function nearestShown(x, y, { mask, shown, reachPx }) {
  let best = null;
  let bestDistance = Infinity;
  for (let row = Math.max(0, y - reachPx); row <= Math.min(mask.height - 1, y + reachPx); row += 1) {
    for (let column = Math.max(0, x - reachPx); column <= Math.min(mask.width - 1, x + reachPx); column += 1) {
      const distance = (column - x) ** 2 + (row - y) ** 2;
      if (distance < bestDistance && shown[mask.ids[row * mask.width + column]]) {
        best = { x: column, y: row };
        bestDistance = distance;
      }
    }
  }
  return best;
}

/** Pixels of the 8-connected patch of class `id` around `pixel`, inside `box`. */
function patchArea(pixel, id, { mask, box: [left, top, right, bottom] }) {
  const seen = new Uint8Array((right - left) * (bottom - top));
  const stack = [];
  const visit = (x, y) => {
    if (x < left || y < top || x >= right || y >= bottom) return;
    const at = (y - top) * (right - left) + (x - left);
    if (seen[at] || mask.ids[y * mask.width + x] !== id) return;
    seen[at] = 1;
    stack.push([x, y]);
  };
  let area = 0;
  for (visit(pixel.x, pixel.y); stack.length; area += 1) {
    const [x, y] = stack.pop();
    for (const dy of [-1, 0, 1]) for (const dx of [-1, 0, 1]) visit(x + dx, y + dy);
  }
  return area;
}

const isInside = ({ x, y }, [left, top, right, bottom]) => x >= left && x < right && y >= top && y < bottom;
const boxArea = ([left, top, right, bottom]) => (right - left) * (bottom - top);
