// Pixels as the array that an input wants, prepared as Lamina's Python runtime does it: resize, crop the centre, normalise.

import { resize } from "./resample.js";

const MOST_PIXELS = 2 ** 27;

/**
 * One image as a tensor float32[1, channels, height, width].
 * @param {{width: number, height: number, data: Uint8Array | Uint8ClampedArray}} pixels rows of RGBA, alpha not multiplied in
 * @param input an input of the manifest, float32[N, 3 or 1, H, W]
 * @param how its `preprocess`
 */
export function fromPixels(pixels, input, how) {
  const channels = input.shape.length === 4 ? input.shape[1] : null;
  if (![1, 3].includes(channels) || input.dtype !== "float32") {
    throw new Error(`an image becomes float32 [N, 3, H, W] or [N, 1, H, W], and ${input.name} wants ${input.dtype}[${input.shape.join(", ")}]`);
  }
  const image = prepared(withChannels(pixels, channels), how);
  return { dims: [1, channels, image.height, image.width], data: normalised(image, how) };
}

function withChannels({ width, height, data }, channels) {
  const made = new Uint8Array(width * height * channels);
  for (let from = 0, to = 0; to < made.length; from += 4) {
    const [red, green, blue] = [data[from], data[from + 1], data[from + 2]];
    if (channels === 1) {
      made[to++] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16; // Pillow's luma
    } else {
      made[to++] = red;
      made[to++] = green;
      made[to++] = blue;
    }
  }
  return { width, height, channels, data: made };
}

function prepared(image, how) {
  let made = image;
  if (how.resize !== null) {
    const [height, width] = resized(image.height, image.width, how.resize);
    if (height * width > MOST_PIXELS) throw new Error(`${height} x ${width} is over ${MOST_PIXELS} pixels`);
    made = resize(image, width, height, how.interpolation);
  }
  if (how.crop === null) return made;
  const [height, width] = Array.isArray(how.crop) ? how.crop : [how.crop, how.crop];
  return cropped(made, height, width);
}

/** A number is the shorter side; the longer one is truncated. */
function resized(height, width, size) {
  if (Array.isArray(size)) return size;
  const longer = Math.trunc((size * Math.max(height, width)) / Math.min(height, width));
  return height <= width ? [size, longer] : [longer, size];
}

/** The centre; zeros where the image is smaller. */
function cropped(image, height, width) {
  const { channels } = image;
  const [top, left] = [offset(image.height, height), offset(image.width, width)];
  const made = new Uint8Array(height * width * channels);
  const [first, end] = [Math.max(0, left), Math.min(image.width, left + width)];
  for (let y = Math.max(0, top); y < Math.min(image.height, top + height); y++) {
    const row = image.data.subarray((y * image.width + first) * channels, (y * image.width + end) * channels);
    made.set(row, ((y - top) * width + (first - left)) * channels);
  }
  return { width, height, channels, data: made };
}

function offset(size, crop) {
  if (crop > size) return -Math.floor((crop - size) / 2);
  const half = (size - crop) / 2;
  const down = Math.floor(half);
  return half - down === 0.5 ? down + (down % 2) : half; // half to even
}

/** float32[channels, height, width]: (pixel / 255 - mean) / std, rounded to float32 after each step as numpy does. */
function normalised({ width, height, channels, data }, how) {
  const area = width * height;
  const made = new Float32Array(channels * area);
  for (let channel = 0; channel < channels; channel++) {
    const [mean, std] = [how.mean, how.std].map((values) => Math.fround(values[values.length === 1 ? 0 : channel]));
    for (let place = 0; place < area; place++) {
      const part = Math.fround(data[place * channels + channel] / 255);
      made[channel * area + place] = Math.fround(part - mean) / std;
    }
  }
  return made;
}
