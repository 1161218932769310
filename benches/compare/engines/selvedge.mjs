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
 * matrix. A call copies the input into the module, asks, and copies the answer out, into the same array each time.
 */
export function engine(module, bundle, inputs, question = 'predict') {
  const { exports } = new WebAssembly.Instance(module, {});
  const { memory, alloc, load } = exports;
  const ask = exports[question];
  let [bytes, data] = [];
  // Memory that has grown has a buffer of its own.
  const look = () => {
    if (bytes?.buffer === memory.buffer) return;
    bytes = new Uint8Array(memory.buffer);
    data = new DataView(memory.buffer);
  };
  const at = alloc(bundle.length);
  look();
  bytes.set(bundle, at);
  const refused = load(at, bundle.length);
  if (refused) throw new Error(`our own module refuses the bundle with error ${refused}`);
  const room = Math.max(...Object.values(inputs).flat().map(({ length }) => length));
  const buffer = alloc(room);
  // An answer is its address above its length.
  const answer = new BigUint64Array(1);
  const halves = new Uint32Array(answer.buffer);
  const outputs = [];
  return {
    rows: Object.keys(inputs).map(Number),
    sets: Object.values(inputs)[0].length,
    isAsync: false,
    call: (rows, set) => {
      const input = inputs[rows][set];
      look();
      bytes.set(input, buffer);
      answer[0] = ask(buffer, input.length);
      look();
      const [length, start] = halves;
      const count = length >> 2;
      const scores = (outputs[count] ??= new Float32Array(count));
      for (let at = 0; at < count; at++) scores[at] = data.getFloat32(start + 4 * at, true);
      return scores;
    },
  };
}
