// A photo from the camera of a desktop computer.

import { words } from "./words.js";

/** Show what the camera sees until a photo is taken; undefined when the user does not want one. */
export async function takePhoto() {
  const [dialog, video, problem, take, cancel] = ["", "-view", "-problem", "-take", "-cancel"].map(
    (part) => document.getElementById(`camera${part}`),
  );
  problem.textContent = "";
  take.disabled = true;
  dialog.showModal();
  const closed = new Promise((resolve) => {
    dialog.addEventListener("close", resolve, { once: true });
  });
  let photo;
  take.onclick = async () => {
    photo = await frame(video);
    dialog.close();
  };
  cancel.onclick = () => dialog.close();
  const stream = await openCamera();
  if (stream && dialog.open) {
    video.srcObject = stream;
    video.onloadeddata = () => {
      take.disabled = false;
      take.focus();
    };
  } else if (!stream) {
    problem.textContent = words("camera_failed");
  }
  await closed;
  video.srcObject = null;
  stream?.getTracks().forEach((track) => track.stop());
  return photo;
}

async function openCamera() {
  try {
    const size = { width: { ideal: 1920 }, height: { ideal: 1080 } };
    return await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", ...size } });
  } catch {
    return undefined;
  }
}

async function frame(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => {
    canvas.toBlob(resolve, "image/jpeg", 0.95);
  });
  return new File([blob], "camera.jpg", { type: blob.type });
}
