// Our guest module through its documented calls (docs/format/abi.md), in any JavaScript host. It imports nothing, so there is
// nothing to provide.

/**
 * An engine of the harness. `requests[rows][set]` are encoded requests: as other engines get their tensors, ours gets its
 * columns. A call copies the request into the module, asks `question`, and copies the answer out.
 */
export function engine(module, bundle, requests, question = 'score') {
  const { exports } = new WebAssembly.Instance(module, {});
  const { memory, alloc, load } = exports;
  const ask = exports[question];
  let bytes = new Uint8Array(memory.buffer);
  const view = () => (bytes.buffer === memory.buffer ? bytes : (bytes = new Uint8Array(memory.buffer)));
  const at = alloc(bundle.length);
  view().set(bundle, at);
  const refused = load(at, bundle.length);
  if (refused) throw new Error(`our own module refuses the bundle with error ${refused}`);
  const room = Math.max(...Object.values(requests).flat().map(({ length }) => length));
  const buffer = alloc(room);
  return {
    rows: Object.keys(requests).map(Number),
    sets: Object.values(requests)[0].length,
    isAsync: false,
    call: (rows, set) => {
      const request = requests[rows][set];
      view().set(request, buffer);
      const answer = ask(buffer, request.length);
      const [start, length] = [Number(answer >> 32n), Number(answer & 0xffff_ffffn)];
      return new Float32Array(view().slice(start, start + length).buffer);
    },
  };
}
