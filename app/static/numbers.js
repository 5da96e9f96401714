/** Numbers as the reader's language writes them. */

const three = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat();
const share = new Intl.NumberFormat(undefined, { style: "percent", maximumSignificantDigits: 3 });
const sure = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 0 });

/** 12.345 → 12.3. */
export const measured = (value) => three.format(value);
/** 12345 → 12,345. */
export const counted = (value) => whole.format(value);
/** Share in [0, 1] → 0.123%. */
export const percent = (value) => share.format(value);
/** Cut, not rounded: 99.9 % must not read as certain. Confidence in [0, 1] → 99%. */
export const certainty = (value) => sure.format(Math.floor(value * 100 + 1e-9) / 100);
/** `1 defect`, `2 defects`. */
export const plural = (count, word) => `${counted(count)} ${word}${count === 1 ? "" : "s"}`;
/** Bytes → 1.23 MB. */
export const bytes = (count) => (count < 1e6 ? `${three.format(count / 1e3)} kB` : `${three.format(count / 1e6)} MB`);
