// The demo page: a photo goes to the service, and what comes back is shown beside it.

import { createComparison } from "./comparison.js";
import { curlCommand } from "./curl.js";
import { drawMarks, showFaces } from "./faces.js";
import { chosenOptions } from "./options.js";
import { doneText, showProblem, showSummary, showTimings } from "./report.js";
import { Problem, health, restore } from "./request.js";
import { watchSources } from "./source.js";
import { bytes, keyWanted, maxUploadMb, words } from "./words.js";

const EXTENSIONS = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/avif": "avif" };
const HEALTH_EVERY_MS = 2000;

const element = (id) => document.getElementById(id);
const form = element("options");
const comparison = createComparison();

let photo; // the File that is shown
let attempt = new AbortController(); // to restore it
let downloadUrl;
let nextHealth;

/** End the work on what was wanted before.  The signal ends this attempt in its turn. */
function newAttempt() {
  attempt.abort();
  attempt = new AbortController();
  return attempt.signal;
}

async function begin(file) {
  const signal = newAttempt();
  photo = file;
  element("view").hidden = false;
  if (element("drop").contains(document.activeElement)) {
    element("choose-another").focus({ preventScroll: true }); // the button that has it goes
  }
  element("drop").hidden = true;
  element("restore").disabled = false;
  forgetResult();
  describeCommand();
  await comparison.showPhoto(file);
  if (!signal.aborted) await run();
}

async function run() {
  const signal = newAttempt();
  element("problem").hidden = true;
  working(0);
  tell(words("status_uploading"));
  try {
    const asked = { file: photo, options: chosenOptions(form), key: element("key").value.trim() };
    check(asked);
    const start = performance.now();
    const result = await restore(asked, signal, working);
    await show(asked, result, performance.now() - start, signal);
  } catch (error) {
    if (signal.aborted) return; // another attempt has taken its place
    tell("");
    if (!(error instanceof Problem)) throw error;
    explain(error);
  } finally {
    if (!signal.aborted) working(null);
  }
}

/** What the service would refuse anyway, before it is sent. */
function check({ file, key }) {
  if (file.size > maxUploadMb * 1e6) {
    const sizes = { size: bytes(file.size), mb: maxUploadMb };
    throw new Problem({ slug: "too-large", detail: words("too_many_mb", sizes) });
  }
  if (keyWanted && !key) throw new Problem({ slug: "unauthorized", status: 401 });
}

async function show(asked, result, milliseconds, signal) {
  if (!comparison.fits(result)) {
    // a kind of picture that the browser cannot show, or shows otherwise: the service converts it
    const options = { ...asked.options, strength: "0", format: "jpeg" };
    const { blob } = await restore({ ...asked, options }, signal);
    await comparison.showPhoto(blob);
    signal.throwIfAborted();
  }
  await comparison.showResult(result, signal);
  drawMarks(element("marks").firstElementChild, result);
  const marksButton = element("show-marks");
  marksButton.disabled = result.faces.length === 0;
  comparison.zoomOn(null, result);
  showSummary(element("summary"), result, milliseconds);
  showTimings(element("timings-bar"), element("timings-list"), result.timings_ms, milliseconds);
  element("result").hidden = element("timings").hidden = false;
  offerDownload(asked.file, result.blob);
  element("restore").textContent = words("restore_again");
  element("restore").classList.remove("primary");
  tell(doneText(result, milliseconds));
  element("face-note").textContent = "";
  await showFaces(element("faces"), result, (box, description) => {
    comparison.zoomOn(box, result);
    element("face-note").textContent = description;
  });
}

function forgetResult() {
  for (const id of ["result", "timings", "faces", "marks", "problem"]) element(id).hidden = true;
  element("face-note").textContent = "";
  element("show-marks").disabled = true;
  element("show-marks").ariaPressed = "false";
  element("restore").textContent = words("restore");
}

function offerDownload(file, blob) {
  URL.revokeObjectURL(downloadUrl);
  downloadUrl = URL.createObjectURL(blob);
  const link = element("download");
  link.href = downloadUrl;
  link.download = `${file.name.replace(/\.[^.]*$/, "")}-restored.${EXTENSIONS[blob.type]}`;
}

function explain(problem) {
  showProblem(element("problem"), problem, () => {
    element("restore").focus({ preventScroll: true }); // this button goes
    run();
  });
  if (problem.status === 401) {
    element("key-field").hidden = false;
    element("key").focus();
    describeCommand();
  }
  watchHealth();
}

/** The share of the photo that is sent; null when nothing is being done. */
function working(sent) {
  const view = element("comparison");
  view.dataset.working = sent === null ? "" : sent < 1 ? "sending" : "restoring";
  view.style.setProperty("--sent", `${(sent ?? 0) * 100}%`);
  element("view").ariaBusy = String(sent !== null);
  if (sent === 1) tell(words("status_working"));
}

function tell(text) {
  if (element("status").textContent !== text) element("status").textContent = text;
}

function describeCommand() {
  const options = chosenOptions(form);
  const name = photo?.name ?? "photo.jpg";
  element("command").textContent = curlCommand({
    url: new URL("enhance", document.baseURI).href,
    file: name,
    options,
    keyWanted: !element("key-field").hidden,
    output: `restored.${outputExtension(name, options.format)}`,
  });
}

function outputExtension(name, format) {
  if (format) return EXTENSIONS[`image/${format}`];
  const own = name.toLowerCase().match(/\.(jpe?g|webp|avif)$/)?.[1];
  return own?.replace("jpeg", "jpg") ?? "png"; // PNG is what the other kinds become
}

async function copyCommand() {
  const command = element("command");
  try {
    await navigator.clipboard.writeText(command.textContent);
  } catch {
    getSelection().selectAllChildren(command); // over plain HTTP only what is selected may be copied
    document.execCommand("copy");
  }
  tell(words("status_copied"));
}

function optionsChanged() {
  element("strength-value").textContent = element("strength").value;
  element("quality-value").textContent = element("quality").value;
  element("quality").disabled = element("format").value === "png";
  element("restore").classList.toggle("primary", photo !== undefined);
  describeCommand();
}

/** Say how the service is, and ask until it is well. */
async function watchHealth() {
  clearTimeout(nextHealth);
  const { status = "unknown", model, device, licence } = (await health()) ?? {};
  element("health").dataset.status = status;
  element("health").textContent = words(`health_${status}`);
  if (status === "ok") element("served-by").textContent = words("served_by", { model, device, licence });
  else nextHealth = setTimeout(watchHealth, HEALTH_EVERY_MS);
}

function start() {
  element("key-field").hidden = !keyWanted;
  element("docs").hidden = keyWanted; // a link carries no key
  element("show-marks").addEventListener("click", ({ currentTarget }) => {
    const shown = currentTarget.ariaPressed !== "true";
    currentTarget.ariaPressed = String(shown);
    element("marks").hidden = !shown;
  });
  form.addEventListener("input", optionsChanged);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (photo) run();
  });
  element("copy").addEventListener("click", copyCommand);
  watchSources(begin);
  optionsChanged(); // a reload keeps what was chosen
  watchHealth();
}

start();
