// Values of JSON as typed arrays, and back.

const ARRAYS = {
  float64: Float64Array,
  float32: Float32Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int16: Int16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};

/** The typed array of a dtype, holding these numbers (of booleans, 0 and 1). RangeError for one that it cannot hold. */
export function typed(dtype, values) {
  const Kind = ARRAYS[dtype];
  if (values instanceof Kind) return values;
  const made = dtype === "int64" ? BigInt64Array.from(values, BigInt) : Kind.from(values);
  const kept = dtype.startsWith("float") || made.every((value, index) => Number(value) === Number(values[index]));
  if (!kept) throw new RangeError(`not all of these values are ${dtype}`);
  return made;
}

/** Nested lists as `dims` and a flat list. TypeError where they are ragged or hold anything but numbers and booleans. */
export function flat(nested) {
  const dims = [];
  for (let level = nested; Array.isArray(level); level = level[0]) dims.push(level.length);
  const data = Array.isArray(nested) ? nested.flat(Infinity) : [nested];
  if (!data.every((value) => typeof value === "number" || typeof value === "boolean")) throw new TypeError("only numbers, true and false");
  if (!regular(nested, dims)) throw new TypeError("lists of one level must have one length");
  return { dims, data: data.map(Number) };
}

const regular = (value, [size, ...inner]) =>
  size === undefined ? !Array.isArray(value) : Array.isArray(value) && value.length === size && value.every((part) => regular(part, inner));

/** A tensor's values as nested lists. */
export function nested(dims, data) {
  const values = Array.from(data, Number);
  return dims.length === 0 ? values[0] : grouped(values, dims);
}

function grouped(values, [size, ...inner]) {
  if (inner.length === 0) return values;
  const step = inner.reduce((a, b) => a * b, 1);
  return Array.from({ length: size }, (_, index) => grouped(values.slice(index * step, (index + 1) * step), inner));
}
