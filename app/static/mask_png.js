/**
 * Class ids from the mask, an indexed PNG.
 *
 * A canvas would give colours, not ids, and some browsers add noise to what is read from one. So the file is read
 * here: two classes of one colour stay two classes.
 */

import { fromBase64 } from "./base64.js";

const INDEXED = 3;
/** The filter type of nearly every row of an indexed PNG: copied whole, 100 megapixels take half a second less. */
const UNFILTERED = 0;
const PAETH = (left, up, corner) => {
  const toLeft = Math.abs(up - corner);
  const toUp = Math.abs(left - corner);
  const toCorner = Math.abs(left + up - 2 * corner);
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
};
/** What each filter type of the PNG specification (section 9.2) foretells of a byte. */
const FORETOLD = [() => 0, (left) => left, (_, up) => up, (left, up) => (left + up) >> 1, PAETH];

/** Base64 of an indexed PNG → {width, height, ids: Uint8Array [height × width]}. Throws on anything else. */
export async function readIds(base64) {
  const { width, height, bitDepth, packed } = openPng(fromBase64(base64));
  const rowBytes = Math.ceil((width * bitDepth) / 8);
  const rows = unfilter(await inflate(packed), { rowBytes, height });
  return { width, height, ids: bitDepth === 8 ? rows : unpack(rows, { width, height, bitDepth, rowBytes }) };
}

function openPng(bytes) {
  const view = new DataView(bytes.buffer);
  const header = { packed: [] };
  for (let at = 8; at + 12 <= bytes.length; at += view.getUint32(at) + 12) {
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const start = at + 8;
    if (type === "IHDR") {
      Object.assign(header, { width: view.getUint32(start), height: view.getUint32(start + 4) });
      Object.assign(header, { bitDepth: bytes[start + 8], colorType: bytes[start + 9], interlace: bytes[start + 12] });
    } else if (type === "IDAT") {
      header.packed.push(bytes.subarray(start, start + view.getUint32(at)));
    }
  }
  if (header.colorType !== INDEXED || header.interlace !== 0) {
    throw new Error("The mask is no plain indexed PNG; is this page older than the service?");
  }
  return header;
}

async function inflate(pieces) {
  const stream = new Blob(pieces).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function unfilter(filtered, { rowBytes, height }) {
  const rows = new Uint8Array(rowBytes * height);
  for (let y = 0; y < height; y += 1) {
    const from = y * (rowBytes + 1);
    const to = y * rowBytes;
    if (filtered[from] === UNFILTERED) {
      rows.set(filtered.subarray(from + 1, from + 1 + rowBytes), to);
      continue;
    }
    const foretold = FORETOLD[filtered[from]];
    for (let x = 0; x < rowBytes; x += 1) {
      const left = x ? rows[to + x - 1] : 0;
      const up = y ? rows[to + x - rowBytes] : 0;
      const corner = x && y ? rows[to + x - rowBytes - 1] : 0;
      rows[to + x] = filtered[from + 1 + x] + foretold(left, up, corner);
    }
  }
  return rows;
}

function unpack(rows, { width, height, bitDepth, rowBytes }) {
  const ids = new Uint8Array(width * height);
  const perByte = 8 / bitDepth;
  const ones = 2 ** bitDepth - 1;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const shift = 8 - bitDepth * ((x % perByte) + 1);
      ids[y * width + x] = (rows[y * rowBytes + Math.floor(x / perByte)] >> shift) & ones;
    }
  }
  return ids;
}
