/** What fingers, mouse and keys ask of the stage: move, zoom, point. */

const CLICK_WITHIN_PX = 6;
const WHEEL_PER_PX = 0.0015;
/** A pinch on a touch pad arrives as a wheel with the control key, in small steps. */
const PINCH_PER_PX = 0.01;
const LINE_PX = 16;
const KEY_STEP_PX = 60;
const KEY_ZOOM = 1.25;

/**
 * Listen on `node`. The hooks get CSS px from its top left corner:
 * pan(dx, dy), zoom(factor, point or undefined), fit(), point({x, y}), hover({x, y}).
 */
export function listenForGestures(node, hooks) {
  listenForPointers(node, hooks);
  node.addEventListener("wheel", (event) => {
    event.preventDefault();
    const deltaPx = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE_PX : 1);
    hooks.zoom(Math.exp(-deltaPx * (event.ctrlKey ? PINCH_PER_PX : WHEEL_PER_PX)), placeOf(event, node));
  }, { passive: false });
  node.addEventListener("keydown", (event) => {
    const action = keyAction(event, hooks);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

function keyAction(event, { pan, zoom, fit }) {
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  return {
    "+": () => zoom(KEY_ZOOM),
    "=": () => zoom(KEY_ZOOM),
    "-": () => zoom(1 / KEY_ZOOM),
    "0": fit,
    ArrowLeft: () => pan(KEY_STEP_PX, 0),
    ArrowRight: () => pan(-KEY_STEP_PX, 0),
    ArrowUp: () => pan(0, KEY_STEP_PX),
    ArrowDown: () => pan(0, -KEY_STEP_PX),
  }[event.key];
}

function listenForPointers(node, { pan, zoom, point, hover }) {
  const down = new Map();
  let movedPx = 0;

  node.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    if (!down.size) movedPx = 0;
    down.set(event.pointerId, placeOf(event, node));
    node.setPointerCapture(event.pointerId);
  });

  node.addEventListener("pointermove", (event) => {
    const now = placeOf(event, node);
    const before = down.get(event.pointerId);
    if (!before) {
      hover(now);
      return;
    }
    const other = [...down].find(([id]) => id !== event.pointerId)?.[1];
    movedPx += distance(before, now);
    down.set(event.pointerId, now);
    if (other) {
      const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
      movedPx += CLICK_WITHIN_PX;
      pan((now.x - before.x) / 2, (now.y - before.y) / 2);
      zoom(distance(now, other) / Math.max(1, distance(before, other)), middle);
    } else if (movedPx > CLICK_WITHIN_PX) {
      pan(now.x - before.x, now.y - before.y);
    }
  });

  node.addEventListener("pointerup", (event) => {
    if (down.delete(event.pointerId) && !down.size && movedPx <= CLICK_WITHIN_PX) point(placeOf(event, node));
  });
  node.addEventListener("pointercancel", (event) => down.delete(event.pointerId));
}

function placeOf(event, node) {
  const box = node.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

const distance = (one, other) => Math.hypot(one.x - other.x, one.y - other.y);
