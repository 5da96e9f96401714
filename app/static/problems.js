/** What went wrong, in words an operator can act on. The service answers with RFC 9457 problem+json. */

const WORDS = {
  0: ["The service does not answer", "Check the network and that the service is running, then try again."],
  400: ["The service did not understand", "Reload this page; it may be older than the service."],
  403: ["This key may not inspect images", "Ask for a key with the scope “predict”."],
  404: ["Not found", "The recipe or the address is unknown. Reload this page and choose again."],
  413: ["This image is too large", "Send a smaller one, or ask for a higher limit."],
  415: ["This is no image that can be inspected", "Save it as PNG, JPEG, TIFF or BMP and try again."],
  422: ["This image cannot be inspected", "See what the service says; the image or the recipe must be changed."],
  429: ["Too many images in a short time", "Wait a moment, then try again."],
  503: ["The service is busy or not ready", "Wait a moment, then try again."],
  504: ["The inspection took too long", "Try again; the service may be under load."],
};
const UNKNOWN = ["The service failed", "Try again. If it happens again, tell whoever runs the service."];

/** An answer that is no prediction. `status` 0: there was no answer at all. */
export class Problem extends Error {
  constructor({ status, detail = "", errors = [], reference = "", retryAfterS = null }) {
    const [title, advice] = WORDS[status] ?? UNKNOWN;
    super(title);
    Object.assign(this, { status, advice, detail, errors, reference, retryAfterS });
  }

  /** From an HTTP answer; a body that is no problem+json (a proxy's page, say) is not shown. */
  static from({ status, retryAfter, text }) {
    let body = {};
    try {
      body = JSON.parse(text) ?? {};
    } catch {
      // Not the service's own words; the status says enough.
    }
    return new Problem({
      status,
      detail: typeof body.detail === "string" ? body.detail : "",
      errors: (body.errors ?? []).map(({ where, message }) => `${where}: ${message}`),
      reference: body.instance ?? "",
      retryAfterS: retryAfter === null || !Number.isFinite(Number(retryAfter)) ? null : Number(retryAfter),
    });
  }
}
