/** Requests to the service. Addresses are relative, so the page works below any path. */

import { keyHeaders } from "./key.js";
import { Problem } from "./problems.js";

const MOST_TRIES = 6;
const LONGEST_WAIT_S = 60;

/**
 * Send one image and get its prediction; waits and tries again while the service says that it is busy.
 *
 * onSent(share) hears how much of the image is on its way, in [0, 1]; onWait(seconds) that the service is busy.
 * Throws Problem; throws AbortError once `signal` is aborted.
 */
export async function inspect(file, { recipe, signal, onSent, onWait }) {
  for (let tries = 1; ; tries += 1) {
    const answer = await post(address("v1/predictions", recipe), file, { signal, onSent });
    if (answer.status === 200) return JSON.parse(answer.text);
    const problem = Problem.from(answer);
    const waitS = problem.retryAfterS;
    if (waitS === null || waitS > LONGEST_WAIT_S || tries === MOST_TRIES) throw problem;
    onWait(waitS);
    await pause(waitS * 1000, signal);
  }
}

/** The overlay that the service draws, a JPEG blob: for images that this browser cannot show itself. */
export async function fetchOverlay(file, { recipe }) {
  const headers = { Accept: "image/jpeg" };
  return (await ask(address("v1/predictions", recipe), { method: "POST", headers, body: form(file) })).blob();
}

/** [{name, sha256, is_default}]. */
export const fetchRecipes = async () => (await (await ask("v1/recipes")).json()).recipes;

/** Resolves when the service can inspect; throws Problem with the reason while it cannot. */
export const checkReady = () => ask("readyz");

function address(path, recipe) {
  return recipe ? `${path}?${new URLSearchParams({ recipe })}` : path;
}

function form(file) {
  const body = new FormData();
  body.append("image", file, file.name);
  return body;
}

async function ask(url, { headers = {}, ...options } = {}) {
  let answer;
  try {
    answer = await fetch(url, { ...options, headers: { ...headers, ...keyHeaders() }, cache: "no-store" });
  } catch {
    throw new Problem({ status: 0 });
  }
  if (!answer.ok) {
    throw Problem.from({
      status: answer.status,
      retryAfter: answer.headers.get("Retry-After"),
      text: await answer.text(),
    });
  }
  return answer;
}

/** XMLHttpRequest, since fetch does not tell how much of an upload is sent. */
function post(url, file, { signal, onSent }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    request.open("POST", url);
    request.setRequestHeader("Accept", "application/json");
    for (const [name, value] of Object.entries(keyHeaders())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onSent(event.loaded / event.total);
    request.onload = () =>
      resolve({
        status: request.status,
        retryAfter: request.getResponseHeader("Retry-After"),
        text: request.responseText,
      });
    request.onerror = () => reject(new Problem({ status: 0 }));
    request.onabort = () => reject(signal.reason);
    request.onloadend = () => signal.removeEventListener("abort", stop);
    signal.throwIfAborted();
    signal.addEventListener("abort", stop);
    request.send(form(file));
  });
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
