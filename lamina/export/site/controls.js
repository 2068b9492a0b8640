// A control for each of a model's inputs: two texts, an image, or an array as JSON.

import { element } from "./dom.js";
import { described } from "./feeds.js";
import { pixels } from "./pictures.js";
import { flat } from "./tensors.js";

/**
 * Add the controls to a form, and return a function that reads them: a promise of the inputs, `{dims, data}` by name, and how many texts.
 * @param model an open Model
 * @param {HTMLElement} place
 */
export function controls(model, place) {
  const { inputs, preprocess, states, tokenizer } = model.manifest;
  const fed = new Set(tokenizer ? [tokenizer.ids, tokenizer.mask, tokenizer.types] : []);
  const kept = new Set(states.map((state) => `past.${state.name}`));
  const readers = tokenizer ? [texts(model, place)] : [];
  for (const input of inputs.filter(({ name }) => !fed.has(name) && !kept.has(name))) {
    readers.push(preprocess[input.name] ? image(model, input, place) : array(model, input, place));
  }
  return async () => Object.assign({}, ...(await Promise.all(readers.map((reader) => reader()))));
}

function labelled(place, id, text, control) {
  control.id = id;
  place.append(element("label", { for: id }, text), control);
  return control;
}

function texts(model, place) {
  const boxes = ["First text", "Second text (optional)"].map((text, index) => labelled(place, `text-${index}`, text, element("textarea", { rows: 2 })));
  boxes[0].required = true;
  return async () => model.fromTexts(boxes.map((box) => box.value).filter((text) => text.trim() !== ""));
}

function image(model, input, place) {
  const control = element("input", { type: "file", accept: "image/png,image/jpeg", required: "" });
  labelled(place, `input-${input.name}`, `Image for ${described(input)}`, control);
  return async () => ({ [input.name]: model.fromPixels(input.name, await pixels(control.files[0])) });
}

function array(model, input, place) {
  const control = element("textarea", { rows: 4, class: "array", spellcheck: "false" });
  labelled(place, `input-${input.name}`, `${described(input)}, as JSON`, control);
  control.value = JSON.stringify(zeros(input.shape.map((size) => typical(size, model.manifest.dims)), input.dtype));
  return async () => ({ [input.name]: flat(JSON.parse(control.value)) });
}

/** The least size that a dim may have; 1 for a size that is computed from dims. */
function typical(size, dims) {
  if (typeof size === "number") return size;
  const range = dims[size];
  return range === undefined ? 1 : Math.ceil(range.min / range.multiple_of) * range.multiple_of;
}

function zeros([size, ...inner], dtype) {
  if (size === undefined) return dtype === "bool" ? false : 0;
  return Array.from({ length: size }, () => zeros(inner, dtype));
}
