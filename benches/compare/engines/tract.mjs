// tract in WebAssembly: the module of `../tract`, compiled and optimised as ours is. A plan for each number of rows.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { open } from './workload.mjs';

export async function load(folder) {
  const workload = open(folder);
  const { PEER: at, VERSION: version } = process.env;
  const bindings = await import(pathToFileURL(join(at, 'selvedge_bench_tract.js')).href);
  const file = join(at, 'tract.wasm');
  bindings.initSync({ module: new WebAssembly.Module(readFileSync(file)) });
  const model = workload.has('model-int8.onnx') ? 'model-int8.onnx' : 'model.onnx';
  const bytes = workload.read(model);
  const widths = Uint32Array.from(workload.inputs, ({ width }) => width);
  const ids = Uint8Array.from(workload.inputs, ({ ids }) => (ids ? 1 : 0));
  const plans = Object.fromEntries(workload.rows.map((rows) => [rows, new bindings.Session(bytes, rows, widths, ids)]));
  const inputs = workload.each((rows, set) => workload.inputsOf(rows, set));
  return {
    version,
    settings: `SIMD, a plan for each number of rows, wasm-opt -O3${model === 'model.onnx' ? '' : ', model of 8 bits (QDQ)'}`,
    files: [file],
    rows: workload.rows,
    sets: workload.sets,
    isAsync: false,
    call: (rows, set) => {
      const plan = plans[rows];
      for (const { ids, values } of inputs[rows][set]) {
        if (ids) plan.ids(values);
        else plan.numbers(values);
      }
      return plan.run();
    },
  };
}
