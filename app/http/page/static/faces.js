// The faces that were found: a picture of each to zoom on, and marks over the photo.

import { number, words } from "./words.js";

const THUMBNAIL = 128; // device pixels
const AROUND = 1.35; // sides of the box
const MOST_SIDE = 4096; // of the picture that thumbnails are cut from

/**
 * Fill `list` with a button a face, and one for the whole photo.  When one is pressed,
 * `onZoom(box, description)` is called; both are empty for the whole photo.
 */
export async function showFaces(list, result, onZoom) {
  const whole = document.createElement("button");
  whole.textContent = words("whole");
  whole.className = "whole";
  const buttons = [whole, ...result.faces.map(thumbnailButton)];
  buttons.forEach((button, i) => {
    button.type = "button";
    button.ariaPressed = String(i === 0);
    button.addEventListener("click", () => {
      for (const other of buttons) other.ariaPressed = String(other === button);
      if (i === 0) onZoom(null, "");
      else onZoom(result.faces[i - 1].box, button.title);
    });
  });
  list.replaceChildren(...buttons);
  list.hidden = result.faces.length === 0;
  if (result.faces.length) await drawThumbnails(list.querySelectorAll("canvas"), result);
}

function thumbnailButton(face, i) {
  const button = document.createElement("button");
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = THUMBNAIL;
  button.append(canvas);
  button.className = face.restored ? "thumbnail" : "thumbnail left-out";
  button.title = button.ariaLabel = described(face, i);
  return button;
}

function described(face, i) {
  const outcome = face.restored ? "restored" : face.reason;
  const told = words(`face_${outcome.replace(" ", "_")}`) ?? outcome;
  const score = words("face_score", { score: number(face.score, 2) });
  const turn = face.turn ? [words(`turned_${face.turn}`)] : [];
  return [words("face", { number: i + 1 }), ...turn, told, score].join(", ");
}

async function drawThumbnails(canvases, { blob, width, height, faces }) {
  const shrink = Math.min(1, MOST_SIDE / Math.max(width, height));
  const size = { resizeWidth: Math.round(width * shrink), resizeHeight: Math.round(height * shrink) };
  const picture = await createImageBitmap(blob, shrink < 1 ? size : {}).catch(() => undefined);
  if (!picture) return; // more than the browser takes: the buttons do without
  faces.forEach(({ box: [x0, y0, x1, y1] }, i) => {
    const side = Math.max(x1 - x0, y1 - y0) * AROUND;
    const corner = [(x0 + x1 - side) / 2, (y0 + y1 - side) / 2];
    const from = [...corner, side, side].map((value) => value * shrink);
    canvases[i].getContext("2d").drawImage(picture, ...from, 0, 0, THUMBNAIL, THUMBNAIL);
  });
  picture.close();
}

/** Draw boxes and landmarks, in shares of the picture. */
export function drawMarks(svg, { faces, width, height }) {
  svg.replaceChildren(
    ...faces.flatMap(({ box: [x0, y0, x1, y1], landmarks, restored }) => [
      shape("rect", restored, {
        x: share(x0, width),
        y: share(y0, height),
        width: share(x1 - x0, width),
        height: share(y1 - y0, height),
      }),
      ...landmarks.map(([x, y]) => {
        const point = shape("circle", restored, { cx: share(x, width), cy: share(y, height) });
        point.style.setProperty("--face", share(x1 - x0, width));
        return point;
      }),
    ]),
  );
}

function share(value, whole) {
  return `${(value / whole) * 100}%`;
}

function shape(name, restored, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (!restored) element.classList.add("left-out");
  return element;
}
