// The page: opens the bundle beside it, makes a form of its inputs, and shows what it answers.

import * as ort from "./vendor/ort.js";
import { Tokenizer } from "./vendor/tokenizers.js";
import { controls } from "./controls.js";
import { element } from "./dom.js";
import { Model } from "./model.js";
import { results } from "./results.js";

const found = (id) => document.getElementById(id);

async function start() {
  ort.env.wasm.wasmPaths = { wasm: new URL("vendor/ort.wasm", import.meta.url).href };
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1; // threads need shared memory
  const model = await Model.open(fetched, { ort, Tokenizer }, { executionProviders: ["wasm"] });
  describe(model.manifest);
  const read = controls(model, found("controls"));
  found("form").addEventListener("submit", (event) => {
    event.preventDefault();
    answer(model, read).catch(fail);
  });
  found("form").hidden = false;
  say("Ready");
}

async function fetched(name) {
  const response = await fetch(new URL(`bundle/${name}`, import.meta.url));
  if (!response.ok) throw new Error(`${name} cannot be read: the server answers ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

function describe({ model, variant, summary, inputs, outputs }) {
  document.title = model;
  found("model").textContent = variant === null ? model : `${model} (${variant})`;
  found("summary").textContent = summary;
  const rows = [...inputs.map((tensor) => ["input", tensor]), ...outputs.map((tensor) => ["output", tensor])];
  for (const [kind, { name, dtype, shape }] of rows) {
    const cells = [name, `${dtype}[${shape.join(", ")}]`].map((text) => element("td", {}, text));
    found("tensors").tBodies[0].append(element("tr", {}, element("th", { scope: "row" }, kind), ...cells));
  }
}

async function answer(model, read) {
  say("Running …");
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve))); // so that the line is seen before the work begins
  const inputs = await read();
  const begun = performance.now();
  const outputs = await model.run(inputs);
  const took = performance.now() - begun;
  found("results").replaceChildren(...results(model.manifest, outputs));
  say(`Done in ${took.toFixed(1)} ms`);
}

function say(text, wrong = false) {
  found("status").classList.toggle("error", wrong);
  found("status").textContent = text;
}

function fail(error) {
  found("results").replaceChildren();
  say(error.message, true);
}

start().catch(fail);
