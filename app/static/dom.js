/** Elements by id, and new ones. Text goes in as text: nothing that a file or the service says becomes markup. */

/** The element of that id; the page has it, or the page is broken. */
export const byId = (id) => document.getElementById(id);

/** A new element. Properties it has are set (`onclick`, `hidden`), others become attributes; null is left out. */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null) continue;
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** One of the icons that index.html draws. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** A small square in a class's colour; `color` is (red, green, blue), 0-255. */
export function swatch(color) {
  const node = element("i", { className: "swatch", "aria-hidden": "true" });
  node.style.background = `rgb(${color.join(" ")})`;
  return node;
}
