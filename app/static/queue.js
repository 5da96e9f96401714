/** The images of this session: inspected one after another, the one on show first. */

import { Problem } from "./problems.js";

/**
 * Events: `change` (detail: the item, or null for the list), `progress` (detail: the item), `show` (another item
 * is on show), `locked` (the service wants a key; `resume` goes on).
 *
 * An item is {file, name, state, sent, waitS, prediction, problem, overlay}; its state is waiting, busy, done or
 * failed, its overlay the service's drawing where the browser cannot show the file.
 */
export class Queue extends EventTarget {
  items = [];
  current = null;
  #inspect;
  #isRunning = false;
  #isLocked = false;
  #stop = null;

  /** inspect(file, {signal, onSent, onWait}) → promise of a prediction, or of a Problem thrown. */
  constructor(inspect) {
    super();
    this.#inspect = inspect;
  }

  add(files) {
    const added = files.map((file) => ({ file, name: file.name || "pasted image", ...fresh() }));
    if (!added.length) return;
    this.items.push(...added);
    this.#tell("change", null);
    this.show(added[0]);
    this.#run();
  }

  show(item) {
    this.current = item;
    this.#tell("show", item);
  }

  step(by) {
    const item = this.items[this.items.indexOf(this.current) + by];
    if (item) this.show(item);
  }

  remove(items) {
    const at = this.items.indexOf(this.current);
    this.items = this.items.filter((item) => !items.includes(item));
    if (items.includes(this.#stop?.item)) this.#stop.abort();
    if (items.includes(this.current)) this.show(this.items[Math.min(at, this.items.length - 1)] ?? null);
    this.#tell("change", null);
  }

  /** Inspect these again: another recipe, or another try. */
  redo(items) {
    for (const item of items) Object.assign(item, fresh());
    if (items.includes(this.#stop?.item)) this.#stop.abort();
    this.#tell("change", this.current);
    this.#run();
  }

  resume() {
    this.#isLocked = false;
    this.#run();
  }

  async #run() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    while (!this.#isLocked) {
      const waiting = this.items.filter((item) => item.state === "waiting");
      if (!waiting.length) break;
      await this.#inspectOne(waiting.includes(this.current) ? this.current : waiting[0]);
    }
    this.#isRunning = false;
  }

  async #inspectOne(item) {
    const stop = Object.assign(new AbortController(), { item });
    const progress = (facts) => {
      Object.assign(item, facts);
      this.#tell("progress", item);
    };
    this.#stop = stop;
    Object.assign(item, { state: "busy", sent: 0, waitS: null });
    this.#tell("change", item);
    try {
      const prediction = await this.#inspect(item.file, {
        signal: stop.signal,
        onSent: (sent) => progress({ sent, waitS: null }),
        onWait: (waitS) => progress({ waitS }),
      });
      if (!stop.signal.aborted) Object.assign(item, { state: "done", prediction });
    } catch (error) {
      // Whoever aborted has said what is to become of the item.
      if (!stop.signal.aborted) this.#fail(item, error);
    }
    this.#stop = null;
    this.#tell("change", item);
  }

  #fail(item, error) {
    if (error instanceof Problem && error.status === 401) {
      this.#isLocked = true;
      Object.assign(item, fresh());
      this.#tell("locked", item);
      return;
    }
    if (!(error instanceof Problem)) console.error(error);
    const problem = error instanceof Problem ? error : new Problem({ status: -1, detail: String(error) });
    Object.assign(item, { state: "failed", problem });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

const fresh = () => ({ state: "waiting", sent: 0, waitS: null, prediction: null, problem: null, overlay: null });
