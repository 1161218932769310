// Our guest module through its documented calls (docs/format/abi.md), in any JavaScript host. It imports nothing, so there is
// nothing to provide.

/** Inputs as `predict` takes them, of each set: `values` are the bytes of all sets, `f32[set][row][feature]`. */
export function matrices(values, sets, rows, features) {
  const size = rows * features * 4;
  return Array.from({ length: sets }, (_, set) => {
    const matrix = new Uint8Array(8 + size);
    new Uint32Array(matrix.buffer, 0, 2).set([rows, features]);
    matrix.set(values.subarray(set * size, (set + 1) * size), 8);
    return matrix;
  });
}

/**
 * An engine of the harness. `inputs[rows][set]` are what `question` takes: as other engines get their tensors, `predict` gets a
 * matrix. A call copies the input into the module, asks, and copies the answer out.
 */
export function engine(module, bundle, inputs, question = 'predict') {
  const { exports } = new WebAssembly.Instance(module, {});
  const { memory, alloc, load } = exports;
  const ask = exports[question];
  let bytes = new Uint8Array(memory.buffer);
  const view = () => (bytes.buffer === memory.buffer ? bytes : (bytes = new Uint8Array(memory.buffer)));
  const at = alloc(bundle.length);
  view().set(bundle, at);
  const refused = load(at, bundle.length);
  if (refused) throw new Error(`our own module refuses the bundle with error ${refused}`);
  const room = Math.max(...Object.values(inputs).flat().map(({ length }) => length));
  const buffer = alloc(room);
  return {
    rows: Object.keys(inputs).map(Number),
    sets: Object.values(inputs)[0].length,
    isAsync: false,
    call: (rows, set) => {
      const input = inputs[rows][set];
      view().set(input, buffer);
      const answer = ask(buffer, input.length);
      const [start, length] = [Number(answer >> 32n), Number(answer & 0xffff_ffffn)];
      return new Float32Array(view().slice(start, start + length).buffer);
    },
  };
}
