// One request to the service.

/** Why there is no result: `{slug, status, detail, requestId, retryAfter}`, most of it optional. */
export class Problem extends Error {
  constructor(told) {
    super(told.slug);
    Object.assign(this, told);
  }
}

/**
 * Restore `photo = {file, options, key}`.
 *
 * Resolves to `{blob, width, height, model, faces, timings_ms}`, coordinates in pixels of the
 * result.  Rejects with a Problem, or with `signal.reason` when it is aborted: the request ends, and
 * the service drops the work.  `onSent` is told of the share of the photo that is sent, 0 to 1.
 */
export async function restore(photo, signal, onSent = () => {}) {
  signal.throwIfAborted();
  const worker = new Worker(new URL("worker.js", import.meta.url));
  const url = new URL("enhance", document.baseURI).href;
  try {
    return await new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
      worker.onmessage = ({ data: { sent, result, problem } }) => {
        if (problem) reject(new Problem(problem));
        else if (result) resolve(result);
        else onSent(sent);
      };
      worker.onerror = () => reject(new Problem({ slug: "other" }));
      worker.postMessage({ url, ...photo });
    });
  } finally {
    worker.terminate();
  }
}

/** What /health says; undefined when nobody answers. */
export async function health() {
  try {
    const answer = await fetch(new URL("health", document.baseURI), { cache: "no-store" });
    return await answer.json();
  } catch {
    return undefined;
  }
}
