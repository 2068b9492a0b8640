// Texts as token arrays, by the bundle's tokenizer, cut and padded as Lamina's Python runtime does it.

/**
 * The inputs that the manifest's tokenizer fills, each [texts, tokens], by name.
 * @param {string[]} texts
 * @param tokenizer of @huggingface/tokenizers, made from the bundle's file
 * @param padding what that file says of padding, or null
 */
export function tokenize(texts, tokenizer, padding, manifest) {
  const how = manifest.tokenizer;
  const axis = manifest.inputs.find((input) => input.name === how.ids).shape[1];
  const most = Math.min(how.max_length, typeof axis === "number" ? axis : (manifest.dims[axis]?.max ?? how.max_length));
  const rows = texts.map((text) => encoded(text, tokenizer, most));
  const length = paddedLength(Math.max(...rows.map((row) => row.ids.length)), axis, manifest);
  const fill = { ids: padding?.pad_id ?? padId(tokenizer), mask: 0, types: padding?.pad_type_id ?? 0 };
  const left = padding?.direction === "Left";
  const found = {};
  for (const column of ["ids", "mask", "types"].filter((name) => how[name] !== null)) {
    found[how[column]] = { dims: [rows.length, length], data: rows.flatMap((row) => padded(row[column], length, fill[column], left)) };
  }
  return found;
}

/** A text's tokens with the special ones around them, at most so many in all. */
function encoded(text, tokenizer, most) {
  const special = tokenizer.encode("").ids.length;
  if (special > most) throw new Error(`the tokenizer's ${special} special tokens do not fit ${most}`);
  const words = tokenizer.tokenize(text, { add_special_tokens: false }).slice(0, most - special);
  const around = tokenizer.post_processor?.(words, null, true) ?? { tokens: words };
  const ids = around.tokens.map((token) => tokenizer.token_to_id(token) ?? tokenizer.model.unk_token_id);
  return { ids, mask: ids.map(() => 1), types: around.token_type_ids ?? ids.map(() => 0) };
}

function padded(values, length, fill, left) {
  const rest = Array(length - values.length).fill(fill);
  return left ? [...rest, ...values] : [...values, ...rest];
}

const padId = (tokenizer) => tokenizer.token_to_id("[PAD]") ?? tokenizer.token_to_id("<pad>") ?? 0;

/** The least length that the axis may have and that so many tokens fit in. */
function paddedLength(longest, axis, manifest) {
  if (typeof axis === "number") return axis;
  const range = manifest.dims[axis];
  return range === undefined ? longest : Math.ceil(Math.max(longest, range.min) / range.multiple_of) * range.multiple_of;
}
