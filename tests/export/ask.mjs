// Answers requests with a bundle in onnxruntime-node: node ask.mjs SITE BUNDLE MODULES < requests.json > answers.json
// A request is {"texts": [...]}, {"pixels": {NAME: {"width", "height", "file"}}} with a file of raw RGBA, or {"inputs": {NAME: {"dims", "data"}}}.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [site, bundle, modules] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(join(site, name)));
const { Model } = await load("model.js");
const { Tokenizer } = await load("vendor/tokenizers.js");
const ort = createRequire(join(modules, "x.js"))("onnxruntime-node");
const model = await Model.open((name) => readFile(join(bundle, name)), { ort, Tokenizer });

async function prepared({ texts, pixels, inputs }) {
  if (texts) return model.fromTexts(texts);
  if (inputs) return inputs;
  const images = Object.entries(pixels).map(async ([name, { file, ...size }]) => [name, model.fromPixels(name, { ...size, data: await readFile(file) })]);
  return Object.fromEntries(await Promise.all(images));
}

async function answer(request) {
  try {
    const feeds = await prepared(request);
    return { feeds: plain(feeds), outputs: plain(await model.run(feeds)) };
  } catch (error) {
    return { error: error.message };
  }
}

const plain = (tensors) => Object.fromEntries(Object.entries(tensors).map(([name, { dims, data }]) => [name, { dims, data: Array.from(data, Number) }]));

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const answers = [];
for (const request of JSON.parse(Buffer.concat(chunks))) answers.push(await answer(request));
process.stdout.write(JSON.stringify(answers));
