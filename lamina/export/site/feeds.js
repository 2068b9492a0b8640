// Inputs held against what the manifest declares of them.

import { typed } from "./tensors.js";

/**
 * What ONNX Runtime is fed: `{dims, data}` by input, data as typed arrays. States that are not given start from their initial values.
 * Throws an Error that says which input is wrong, and what it should be.
 */
export function checked(manifest, given) {
  const past = new Map(manifest.states.map((state) => [`past.${state.name}`, state.initial]));
  const wanted = manifest.inputs.filter((input) => input.name in given || !past.has(input.name));
  const names = manifest.inputs.map((input) => input.name);
  const strange = Object.keys(given).find((name) => !names.includes(name));
  if (strange !== undefined) throw new Error(`${strange} is not an input; the inputs are ${names.join(", ")}`);
  const missing = wanted.find((input) => !(input.name in given));
  if (missing !== undefined) throw new Error(`nothing was given for ${described(missing)}`);
  const sizes = {};
  const feeds = Object.fromEntries(wanted.map((input) => [input.name, fed(input, given[input.name], manifest.dims, sizes)]));
  for (const input of manifest.inputs.filter(({ name }) => !(name in feeds))) {
    feeds[input.name] = filled(input, past.get(input.name), manifest.dims, sizes);
  }
  return feeds;
}

export const described = (input) => `${input.name}: ${input.dtype}[${input.shape.join(", ")}]`;

function fed(input, { dims, data }, ranges, sizes) {
  const shown = `${described(input)}, and [${dims.join(", ")}] was given`;
  if (dims.length !== input.shape.length || dims.reduce((a, b) => a * b, 1) !== data.length) throw new Error(shown);
  dims.forEach((size, axis) => {
    const name = input.shape[axis];
    const range = ranges[name];
    const allowed = range === undefined || (size >= range.min && size <= range.max && size % range.multiple_of === 0);
    if (!allowed) throw new Error(`${shown}: ${name} is ${range.min} to ${range.max}, in steps of ${range.multiple_of}`);
    const known = typeof name === "number" ? name : range === undefined ? size : (sizes[name] ??= size);
    if (size !== known) throw new Error(`${shown}: ${name} is ${known}`);
  });
  const { below } = input;
  const values = typed(input.dtype, data);
  if (below !== null && values.some((value) => Number(value) < -below || Number(value) >= below)) {
    throw new Error(`${input.name} holds 0 to ${below - 1}`);
  }
  return { dims, data: values };
}

/** A state before the first call. A dim that only states show starts as small as it may be. */
function filled(input, value, ranges, sizes) {
  const dims = input.shape.map((size) => (typeof size === "number" ? size : (sizes[size] ?? ranges[size].min)));
  return { dims, data: typed(input.dtype, Array(dims.reduce((a, b) => a * b, 1)).fill(Number(value))) };
}
