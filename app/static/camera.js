/** A picture from the camera: live where the browser allows it, else by the device's own camera app. */

import { byId } from "./dom.js";

const WANTED = { facingMode: "environment", width: { ideal: 3840 }, height: { ideal: 2160 } };

/** onFile(File) hears each picture taken. */
export function listenForCamera(onFile) {
  const [dialog, video, take] = [byId("camera"), byId("camera-picture"), byId("camera-take")];
  let opened = 0;

  byId("camera-open").onclick = async () => {
    // Browsers give pages a camera on https and on the machine itself only.
    if (!navigator.mediaDevices) {
      byId("snapshot").click();
      return;
    }
    const turn = (opened += 1);
    byId("camera-problem").hidden = true;
    dialog.showModal();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: WANTED });
      if (dialog.open && turn === opened) video.srcObject = stream;
      else stop(stream);
    } catch (error) {
      byId("camera-problem").textContent = reason(error);
      byId("camera-problem").hidden = false;
    }
  };
  video.onloadeddata = () => (take.disabled = false);
  byId("camera-close").onclick = () => dialog.close();
  dialog.onclose = () => {
    stop(video.srcObject);
    video.srcObject = null;
    take.disabled = true;
  };
  take.onclick = async () => {
    const file = await capture(video);
    dialog.close();
    onFile(file);
  };
}

/** PNG: what is inspected should not first be blurred. */
async function capture(video) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const taken = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
  return new File([blob], `camera_${taken}.png`, { type: "image/png" });
}

const stop = (stream) => stream?.getTracks().forEach((track) => track.stop());

function reason({ name, message }) {
  return {
    NotAllowedError: "The browser may not use the camera. Allow it in the address bar, then try again.",
    NotFoundError: "No camera was found. Plug one in, or choose a file.",
  }[name] ?? `The camera cannot be used: ${message}`;
}
