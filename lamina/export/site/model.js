// A Lamina bundle in ONNX Runtime: onnxruntime-web in a page, onnxruntime-node in Node.

import { checked } from "./feeds.js";
import { fromPixels } from "./images.js";
import { completed } from "./manifest.js";
import { tokenize } from "./text.js";

const WEIGHTS = "weights.bin";

export class Model {
  #ort;
  #session;
  #tokenizer;
  #padding;

  /** What the bundle's manifest.json says. */
  manifest;

  constructor(manifest, ort, session, tokenizer, padding) {
    this.manifest = manifest;
    this.#ort = ort;
    this.#session = session;
    this.#tokenizer = tokenizer;
    this.#padding = padding;
  }

  /**
   * Open a bundle that has the target `onnx`.
   * @param {(name: string) => Promise<Uint8Array>} read the bytes of a file of the bundle
   * @param libraries `ort` is onnxruntime-web or onnxruntime-node; `Tokenizer`, of @huggingface/tokenizers, is needed for texts
   * @param options of ONNX Runtime's session
   */
  static async open(read, { ort, Tokenizer }, options = {}) {
    const manifest = completed(parsed(await read("manifest.json")));
    const whole = (name) => intact(read, name, manifest.files[name]);
    const outside = WEIGHTS in manifest.files ? [{ path: WEIGHTS, data: await whole(WEIGHTS) }] : [];
    const session = await ort.InferenceSession.create(await whole(manifest.targets.onnx.file), { ...options, externalData: outside });
    if (manifest.tokenizer === null || !Tokenizer) return new Model(manifest, ort, session, null, null);
    const tokens = parsed(await whole(manifest.tokenizer.file));
    return new Model(manifest, ort, session, new Tokenizer(tokens, {}), tokens.padding ?? null);
  }

  /** The inputs that the bundle's tokenizer makes of texts, by name. */
  fromTexts(texts) {
    if (this.#tokenizer === null) throw new Error("the bundle carries no tokenizer, or none was given to read it");
    return tokenize(texts, this.#tokenizer, this.#padding, this.manifest);
  }

  /** What the input of that name is for one image: `{width, height, data}`, data as rows of RGBA. */
  fromPixels(name, pixels) {
    const how = this.manifest.preprocess[name];
    if (!how) throw new Error(`the bundle says no preprocess for ${name}`);
    return fromPixels(pixels, this.manifest.inputs.find((input) => input.name === name), how);
  }

  /**
   * The outputs for these inputs: `{dims, data}` by name. States that are not given start from their initial values.
   * @param {Object<string, {dims: number[], data: ArrayLike<number | bigint>}>} inputs flat data in row-major order
   */
  async run(inputs) {
    const dtypes = Object.fromEntries(this.manifest.inputs.map(({ name, dtype }) => [name, dtype]));
    const feeds = Object.entries(checked(this.manifest, inputs)).map(([name, { dims, data }]) => [name, new this.#ort.Tensor(dtypes[name], data, dims)]);
    const found = await this.#session.run(Object.fromEntries(feeds));
    return Object.fromEntries(this.manifest.outputs.map(({ name }) => [name, { dims: [...found[name].dims], data: found[name].data }]));
  }
}

const parsed = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

/** A file whose size is the recorded one, and whose hash is, where the page may compute one (https, or this machine). */
async function intact(read, name, record) {
  const inside = name.split("/").every((part) => !["", ".", ".."].includes(part)) && !/[\\:]/.test(name);
  if (!inside || record === undefined) throw new Error(`${name} is not a file of the bundle`);
  const bytes = await read(name);
  if (bytes.byteLength !== record.bytes) throw new Error(`${name} has ${bytes.byteLength} bytes, not ${record.bytes}: copy the folder again`);
  if (globalThis.crypto?.subtle === undefined) return bytes;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const hash = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hash !== record.sha256) throw new Error(`${name} does not have the hash that the manifest records: copy the folder again`);
  return bytes;
}
