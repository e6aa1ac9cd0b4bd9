// The photo before and after, one over the other, parted where the user wants.

import { words } from "./words.js";

const FACE_SHARE = 0.75; // of the view that a face takes up when it is zoomed on
const MOST_ZOOM = 12;

/** The element's functions; it shows one photo at a time, and keeps nothing of those before. */
export function createComparison() {
  const root = document.getElementById("comparison");
  const [before, after] = ["before", "after"].map((id) => document.getElementById(id));
  const split = document.getElementById("split");
  const noPreview = document.getElementById("no-preview");
  listenForSplit(root, split);

  return {
    /** Show a photo that is to be restored, if the browser can. */
    async showPhoto(blob) {
      after.hidden = split.hidden = true;
      root.classList.remove("done");
      zoom(root, null);
      const shown = await load(before, blob);
      before.hidden = !shown;
      noPreview.hidden = shown;
      shape(root, shown ? before.naturalWidth : 3, shown ? before.naturalHeight : 1);
    },

    /** Whether the photo can lie under a result: it is shown, and as upright as that. */
    fits({ width, height }) {
      if (before.hidden) return false;
      const ratio = before.naturalWidth / before.naturalHeight / (width / height);
      return Math.abs(ratio - 1) < 0.01 + 1 / Math.min(before.naturalWidth, before.naturalHeight);
    },

    /** Show the result over the photo, unless `signal` is aborted meanwhile. */
    async showResult({ blob, width, height }, signal) {
      const shown = await load(after, blob); // a browser has its limits, too
      signal.throwIfAborted();
      after.hidden = split.hidden = !shown;
      noPreview.hidden = shown;
      root.classList.toggle("done", shown);
      shape(root, width, height);
      split.value = 50;
      split.dispatchEvent(new Event("input"));
    },

    /** Fill the view with a face's `[x0, y0, x1, y1]`, or with the whole picture. */
    zoomOn(box, size) {
      zoom(root, box && region(box, size));
    },
  };
}

/** Load a picture into an `img`, decoded before it is shown.  Resolves to whether that went well. */
async function load(image, blob) {
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(blob);
  try {
    await image.decode();
    return true;
  } catch {
    return false;
  }
}

function shape(root, width, height) {
  root.style.setProperty("--ratio", width / height);
}

/** Scale, and the shift of the upper left corner, both relative to the view. */
function region([x0, y0, x1, y1], { width, height }) {
  const across = Math.min(width / (x1 - x0), height / (y1 - y0));
  const scale = Math.min(MOST_ZOOM, Math.max(1, across * FACE_SHARE));
  const shift = (middle) => Math.min(0, Math.max(1 - scale, 0.5 - scale * middle));
  return { scale, x: shift((x0 + x1) / 2 / width), y: shift((y0 + y1) / 2 / height) };
}

function zoom(root, wanted) {
  const { scale, x, y } = wanted ?? { scale: 1, x: 0, y: 0 };
  root.style.setProperty("--zoom", scale);
  root.style.setProperty("--x", `${x * 100}%`);
  root.style.setProperty("--y", `${y * 100}%`);
}

function listenForSplit(root, split) {
  split.addEventListener("input", () => {
    root.style.setProperty("--split", `${split.value}%`);
    split.ariaValueText = words("compare_value", { percent: split.value });
  });
  const follow = (event) => {
    const { left, width } = root.getBoundingClientRect();
    split.value = ((event.clientX - left) / width) * 100;
    split.dispatchEvent(new Event("input"));
  };
  root.addEventListener("pointerdown", (event) => {
    if (split.hidden || event.button !== 0) return;
    root.setPointerCapture(event.pointerId);
    follow(event);
  });
  root.addEventListener("pointermove", (event) => {
    if (root.hasPointerCapture(event.pointerId)) follow(event);
  });
  root.addEventListener("mousedown", (event) => {
    event.preventDefault(); // selects nothing; the keyboard goes on from here
    split.focus({ preventScroll: true });
  });
}
