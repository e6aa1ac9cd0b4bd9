// What is told of a request: its result, its timings, or why there is none.

import { bytes, duration, number, words } from "./words.js";

const WORTH_RETRYING = new Set([undefined, 500, 503, 504]);

export function showSummary(list, result, milliseconds) {
  const { blob, faces, width, height, model } = result;
  const kind = blob.type.replace("image/", "").toUpperCase();
  const size = { width: number(width), height: number(height) };
  list.replaceChildren(
    ...pair(words("count"), words("count_of", counts(faces))),
    ...pair(words("dimensions"), words("pixels", size)),
    ...pair(words("file_size"), `${kind}, ${bytes(blob.size)}`),
    ...pair(words("took"), duration(milliseconds)),
    ...pair(words("model"), model),
  );
}

export function doneText({ faces }, milliseconds) {
  if (faces.length === 0) return words("status_none");
  return words("status_done", { ...counts(faces), time: duration(milliseconds) });
}

function counts(faces) {
  return { restored: faces.filter((face) => face.restored).length, found: faces.length };
}

/** The service's stages as a bar and a list; what is left of the whole was the way to and fro. */
export function showTimings(bar, list, timings, milliseconds) {
  const known = Object.values(timings).reduce((sum, value) => sum + value, 0);
  const stages = Object.entries({ ...timings, rest: Math.max(0, milliseconds - known) });
  bar.replaceChildren(
    ...stages.map(([stage, value]) => {
      const part = document.createElement("span");
      part.dataset.stage = stage;
      part.style.flexGrow = value;
      return part;
    }),
  );
  list.replaceChildren(
    ...stages.map(([stage, value]) => {
      const row = document.createElement("div");
      row.dataset.stage = stage;
      row.append(...pair(words(`timing_${stage}`) ?? stage, duration(value)));
      return row;
    }),
  );
}

function pair(term, description) {
  return [text("dt", term), text("dd", description)];
}

/** Say what went wrong in `panel`, and offer to try again where that may help. */
export function showProblem(panel, problem, onRetry) {
  const { slug, status, detail, requestId, retryAfter } = problem;
  const parts = [text("p", words(`problem_${slug}`) ?? words("problem_other"), "problem-title")];
  if (detail) {
    const paragraph = text("p", detail);
    if (requestId) paragraph.lang = "en"; // the service's own words
    parts.push(paragraph);
  }
  if (retryAfter) parts.push(text("p", words("retry_after", { seconds: retryAfter })));
  if (requestId) {
    parts.push(text("p", `HTTP ${status} · ${words("request_id", { id: requestId })}`, "hint"));
  }
  if (WORTH_RETRYING.has(status) && slug !== "too-large") {
    const button = text("button", words("retry"));
    button.type = "button";
    button.addEventListener("click", onRetry);
    parts.push(button);
  }
  panel.replaceChildren(...parts);
  panel.hidden = false;
}

function text(name, content, className = "") {
  const element = document.createElement(name);
  element.textContent = content;
  element.className = className;
  return element;
}
