// Outputs for people: how similar two texts are, the likeliest classes, or the numbers.

import { element } from "./dom.js";
import { described } from "./feeds.js";
import { nested } from "./tensors.js";

const SHOWN_CLASSES = 5;
const SHOWN_VALUES = 4096;

/** What to show of the outputs of a call, as elements. */
export function results(manifest, outputs) {
  return manifest.outputs.filter(({ name }) => !name.startsWith("present.")).flatMap((output) => shown(manifest, output, outputs[output.name]));
}

function shown(manifest, output, { dims, data }) {
  const floats = output.dtype.startsWith("float") && dims.length === 2;
  if (floats && manifest.tokenizer && dims[0] === 2) return [similarity(data.slice(0, dims[1]), data.slice(dims[1]))];
  if (floats && Object.keys(manifest.preprocess).length > 0 && dims[0] === 1 && dims[1] > 1) return [classes(output.name, data)];
  return [numbers(output, dims, data)];
}

function similarity(first, second) {
  const cosine = dot(first, second) / Math.sqrt(dot(first, first) * dot(second, second));
  return element("p", { id: "similarity", "data-value": cosine }, `Similarity ${cosine.toFixed(4)}`);
}

const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);

function classes(name, scores) {
  const all = Array.from(scores);
  const best = all.map((_, index) => index).sort((a, b) => all[b] - all[a]).slice(0, SHOWN_CLASSES);
  const highest = all[best[0]];
  const total = all.reduce((sum, score) => sum + Math.exp(score - highest), 0);
  const rows = best.map((index) => {
    const share = Math.exp(all[index] - highest) / total;
    const bar = element("meter", { min: 0, max: 1, value: share, "aria-label": `softmax of class ${index}` });
    const cells = [String(index), all[index].toFixed(4), `${(100 * share).toFixed(2)}%`].map((text) => element("td", { class: "number" }, text));
    return element("tr", { "data-class": index, "data-score": all[index] }, ...cells, element("td", { class: "bar" }, bar));
  });
  const heads = ["class", name, "softmax", ""].map((text) => element("th", { scope: "col" }, text));
  return element("table", { id: "classes" }, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows));
}

function numbers(output, dims, data) {
  const whole = data.length <= SHOWN_VALUES;
  const values = whole ? nested(dims, data) : Array.from(data.slice(0, SHOWN_VALUES), Number);
  const title = `${described(output)}: [${dims.join(", ")}]${whole ? "" : `, the first ${SHOWN_VALUES} values`}`;
  return element("figure", {}, element("figcaption", {}, title), element("pre", { "data-output": output.name, tabindex: 0 }, JSON.stringify(values)));
}
