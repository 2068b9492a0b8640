// manifest.json with what it leaves out, since an older one says less.

const FORMAT = 1;
const MANIFEST = { variant: null, summary: "", dims: {}, states: [], preprocess: null, tokenizer: null };
const RANGE = { min: 1, opt: 1, max: 2 ** 31 - 1, multiple_of: 1 };
const PREPROCESS = { resize: null, crop: null, interpolation: "bicubic", mean: [0], std: [1] };
const TOKENIZER = { mask: null, types: null };

/** The manifest of a bundle that holds the target `onnx`, whole. Throws an Error for another. */
export function completed(said) {
  if (!(said.lamina <= FORMAT) || !said.targets?.onnx) throw new Error(`this reads bundles up to format ${FORMAT} that hold the target onnx`);
  const manifest = { ...MANIFEST, ...said };
  return {
    ...manifest,
    inputs: manifest.inputs.map((input) => ({ below: null, ...input })),
    dims: each(manifest.dims, (range) => ({ ...RANGE, ...range })),
    states: manifest.states.map((state) => ({ initial: 0, ...state })),
    preprocess: each(manifest.preprocess ?? {}, (how) => ({ ...PREPROCESS, ...how })),
    tokenizer: manifest.tokenizer && { ...TOKENIZER, ...manifest.tokenizer },
  };
}

const each = (values, change) => Object.fromEntries(Object.entries(values).map(([name, value]) => [name, change(value)]));
