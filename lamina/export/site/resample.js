// Pillow's resize of 8-bit pixels, to the bit: the same taps, the same fixed-point weights, rounded after each of the two passes.

const PRECISION = 22; // bits of a weight: a sum of 8-bit pixels times weights fits 32 bits
const HALF = 2 ** (PRECISION - 1);
const FILTERS = {
  bilinear: { support: 1, at: (x) => (x < 1 ? 1 - x : 0) },
  bicubic: { support: 2, at: cubic },
};

/**
 * Pixels at another size.
 * @param {{width: number, height: number, channels: number, data: Uint8Array}} image rows of pixels, channels last
 * @param {"bicubic" | "bilinear" | "nearest"} interpolation
 */
export function resize(image, width, height, interpolation) {
  if (width === image.width && height === image.height) return image;
  if (interpolation === "nearest") return nearest(image, width, height);
  const filter = FILTERS[interpolation];
  const wide = width === image.width ? image : horizontally(image, taps(image.width, width, filter));
  return height === image.height ? wide : vertically(wide, taps(image.height, height, filter));
}

function cubic(x) {
  const a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/** Which pixels of a line each new pixel is made of, and their weights. */
function taps(before, after, filter) {
  const scale = before / after;
  const wide = Math.max(scale, 1);
  const support = filter.support * wide;
  return Array.from({ length: after }, (_, index) => {
    const center = (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(before, Math.trunc(center + support + 0.5));
    const weights = Array.from({ length: end - first }, (_, k) => filter.at(Math.abs((k + first - center + 0.5) * (1 / wide))));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: Int32Array.from(weights, (weight) => fixed(sum === 0 ? weight : weight / sum)) };
  });
}

const fixed = (weight) => Math.trunc((weight < 0 ? -0.5 : 0.5) + weight * 2 ** PRECISION);

const rounded = (sum) => Math.min(255, Math.max(0, sum >> PRECISION));

function horizontally({ width, height, channels, data }, lines) {
  const made = new Uint8Array(lines.length * height * channels);
  let place = 0;
  for (let y = 0; y < height; y++) {
    for (const { first, weights } of lines) {
      for (let channel = 0; channel < channels; channel++) {
        let sum = HALF;
        let from = (y * width + first) * channels + channel;
        for (let k = 0; k < weights.length; k++, from += channels) sum += data[from] * weights[k];
        made[place++] = rounded(sum);
      }
    }
  }
  return { width: lines.length, height, channels, data: made };
}

function vertically({ width, channels, data }, lines) {
  const row = width * channels;
  const made = new Uint8Array(lines.length * row);
  let place = 0;
  for (const { first, weights } of lines) {
    for (let x = 0; x < row; x++) {
      let sum = HALF;
      for (let k = 0, from = first * row + x; k < weights.length; k++, from += row) sum += data[from] * weights[k];
      made[place++] = rounded(sum);
    }
  }
  return { width, height: lines.length, channels, data: made };
}

function nearest({ width, height, channels, data }, toWidth, toHeight) {
  const [columns, rows] = [places(width, toWidth), places(height, toHeight)];
  const made = new Uint8Array(toWidth * toHeight * channels);
  let place = 0;
  for (const y of rows) {
    for (const x of columns) {
      for (let channel = 0; channel < channels; channel++) made[place++] = data[(y * width + x) * channels + channel];
    }
  }
  return { width: toWidth, height: toHeight, channels, data: made };
}

/** The pixel that each new one is: Pillow adds up steps, so their rounding adds up, too. */
function places(before, after) {
  const found = new Int32Array(after);
  const step = before / after;
  for (let index = 0, at = step * 0.5; index < after; index++, at += step) found[index] = Math.min(before - 1, Math.trunc(at));
  return found;
}
