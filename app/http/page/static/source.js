// Where photos come from: a file, a drop, the clipboard, the camera, the sample.

import { takePhoto } from "./camera.js";

/** Call `onPhoto(file)` with each photo that the user gives. */
export function watchSources(onPhoto) {
  const element = (id) => document.getElementById(id);
  const file = element("file");
  const capture = element("capture");
  for (const input of [file, capture]) {
    input.addEventListener("change", () => {
      if (input.files.length) onPhoto(input.files[0]);
      input.value = ""; // the same file may be chosen again
    });
  }
  for (const id of ["choose", "choose-another"]) {
    element(id).addEventListener("click", () => file.click());
  }
  element("sample").addEventListener("click", async () => {
    const blob = await (await fetch(new URL("sample.jpg", import.meta.url))).blob();
    onPhoto(new File([blob], "sample.jpg", { type: blob.type }));
  });
  offerCamera(element("use-camera"), capture, onPhoto);
  addEventListener("paste", ({ clipboardData }) => {
    if (clipboardData?.files.length) onPhoto(clipboardData.files[0]);
  });
  watchDrops(element("veil"), onPhoto);
}

/** On a phone its own camera application, which takes better photos than a page can. */
function offerCamera(button, capture, onPhoto) {
  const handheld = matchMedia("(pointer: coarse)").matches;
  button.hidden = !handheld && !navigator.mediaDevices?.getUserMedia;
  button.addEventListener("click", async () => {
    if (handheld) {
      capture.click();
      return;
    }
    const photo = await takePhoto();
    if (photo) onPhoto(photo);
  });
}

function watchDrops(veil, onPhoto) {
  const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!carriesFile(event)) return;
    event.preventDefault();
    veil.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) veil.hidden = true;
  });
  addEventListener("drop", (event) => {
    veil.hidden = true;
    if (!carriesFile(event)) return;
    event.preventDefault();
    if (event.dataTransfer.files.length) onPhoto(event.dataTransfer.files[0]);
  });
}
