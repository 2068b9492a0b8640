// Image files as pixels, in a browser.

const [MARKER, START_OF_IMAGE, APPLICATION_1, START_OF_SCAN] = [0xff, 0xd8, 0xe1, 0xda]; // of JPEG

/** An image file as rows of RGBA: its own numbers, not turned, with no colour profile applied. */
export async function pixels(file) {
  const plain = new Blob(withoutExif(new Uint8Array(await file.arrayBuffer())), { type: file.type });
  const bitmap = await createImageBitmap(plain, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

/** The parts of a file; of JPEG without what says that it is to be turned, which no browser can be told to overlook. */
function withoutExif(bytes) {
  if (bytes[0] !== MARKER || bytes[1] !== START_OF_IMAGE) return [bytes];
  const kept = [bytes.subarray(0, 2)];
  let place = 2;
  while (place + 4 <= bytes.length && bytes[place] === MARKER && bytes[place + 1] !== START_OF_SCAN) {
    const end = place + 2 + bytes[place + 2] * 256 + bytes[place + 3];
    if (bytes[place + 1] !== APPLICATION_1) kept.push(bytes.subarray(place, end));
    place = end;
  }
  return [...kept, bytes.subarray(place)];
}
