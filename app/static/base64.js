/** Base64 text → Uint8Array. */
export const fromBase64 = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
