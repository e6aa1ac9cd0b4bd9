// Sends one photo and unpacks the answer, beside the page, which stays responsive meanwhile.

onmessage = ({ data: { url, file, options, key } }) => {
  const form = new FormData();
  form.append("file", file, file.name);
  for (const [name, value] of Object.entries(options)) form.append(name, value);

  const request = new XMLHttpRequest(); // fetch does not tell how much has been sent
  request.open("POST", url);
  request.responseType = "json";
  request.setRequestHeader("Accept", "application/json");
  if (key) request.setRequestHeader("X-API-Key", key);
  request.upload.onprogress = ({ loaded, total }) => postMessage({ sent: loaded / total });
  request.onload = () => postMessage(request.status === 200 ? unpacked(request) : refused(request));
  request.onerror = () => postMessage({ problem: { slug: "unreachable" } });
  request.send(form);
};

function unpacked({ response }) {
  if (response === null) return { problem: { slug: "other" } };
  const { image, media_type: type, ...report } = response;
  return { result: { ...report, blob: new Blob([decoded(image)], { type }) } };
}

function decoded(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function refused(request) {
  const { type, detail, request_id: requestId } = request.response ?? {};
  return {
    problem: {
      slug: type?.replace("urn:gpen:problem:", "") ?? "other",
      status: request.status,
      detail,
      requestId,
      retryAfter: request.getResponseHeader("Retry-After"),
    },
  };
}
