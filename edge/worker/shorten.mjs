// Short names for the functions that a module imports. wasm-bindgen's end in hashes, so that modules of several versions can be
// linked into one; a Worker is one module, and 150 hashes, which do not compress, stand in it and in its bindings.
//
// The one section that is touched is that of imports (WebAssembly Core Specification 5.5.5), in which wasm-bindgen puts functions
// only.

const IMPORTS = 2;
const FUNCTION = 0;

/** Reads a module from `at` on. */
class Reader {
  constructor(bytes, at) {
    this.bytes = bytes;
    this.at = at;
  }

  /** LEB128, at most 32 bits. */
  number() {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.bytes[this.at++];
      value |= (byte & 127) << shift;
      if (byte < 128) return value >>> 0;
    }
  }

  take(length) {
    return this.bytes.subarray(this.at, (this.at += length));
  }
}

function number(value) {
  const bytes = [];
  for (; value > 127; value >>>= 7) bytes.push((value & 127) | 128);
  return Buffer.from([...bytes, value]);
}

const sized = (bytes) => Buffer.concat([number(bytes.length), bytes]);

/** The section with other names, which are added to `names`. */
function renamed(section, names) {
  const reader = new Reader(section, 0);
  const count = reader.number();
  const parts = [number(count)];
  for (let at = 0; at < count; at += 1) {
    const from = reader.take(reader.number());
    const name = reader.take(reader.number()).toString();
    const [kind] = reader.take(1);
    if (kind !== FUNCTION) throw new Error(`${name} is imported and is no function`);
    names[name] ??= `_${at.toString(36)}`;
    parts.push(sized(from), sized(Buffer.from(names[name])), Buffer.from([kind]), number(reader.number()));
  }
  return Buffer.concat(parts);
}

/** The module `bytes` with short names, and which name became which. */
export function shorten(bytes) {
  const names = {};
  const reader = new Reader(bytes, 8);
  const parts = [bytes.subarray(0, 8)];
  while (reader.at < bytes.length) {
    const [id] = reader.take(1);
    const section = reader.take(reader.number());
    parts.push(Buffer.from([id]), sized(id === IMPORTS ? renamed(section, names) : section));
  }
  return { module: Buffer.concat(parts), names };
}
