/** Images come in by drop, paste or choice. */

import { byId } from "./dom.js";

/** onFiles(array of File) hears each lot; files that do not look like images are left to the service to judge. */
export function listenForFiles(onFiles) {
  byId("choose").onclick = () => byId("files").click();
  for (const id of ["files", "snapshot"]) {
    byId(id).onchange = ({ target }) => {
      onFiles([...target.files]);
      // The same file chosen again is a change again.
      target.value = "";
    };
  }
  addEventListener("paste", ({ clipboardData }) => {
    const files = [...clipboardData.files];
    if (files.length) onFiles(files);
  });
  listenForDrops(onFiles);
}

function listenForDrops(onFiles) {
  const hasFiles = (event) => event.dataTransfer.types.includes("Files");
  // Entering a child comes before leaving its parent: only the balance says whether the page was left.
  let depth = 0;
  const show = (by) => {
    depth = by === 0 ? 0 : depth + by;
    byId("drop").hidden = depth <= 0;
  };
  addEventListener("dragenter", (event) => hasFiles(event) && show(1));
  addEventListener("dragleave", (event) => hasFiles(event) && show(-1));
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    show(0);
    onFiles([...event.dataTransfer.files]);
  });
}
