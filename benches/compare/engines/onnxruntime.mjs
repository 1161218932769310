// onnxruntime: its WebAssembly build, and its native one for Node.
//
// One thread, all optimisations of the graph. Tensors over the inputs are made before, and the output's as well where that
// is possible; so a call is the run alone.
import { join } from 'node:path';

import { installed, open } from './workload.mjs';

export async function load(folder, name) {
  const workload = open(folder);
  const isWeb = name === 'onnxruntime-web';
  const { version, from, folder: at, require } = installed(name);
  const ort = isWeb ? await from('dist/ort.node.min.mjs') : require();
  if (isWeb) {
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.proxy = false;
  }
  const model = workload.has('model-int8.onnx') ? 'model-int8.onnx' : 'model.onnx';
  const session = await ort.InferenceSession.create(new Uint8Array(workload.read(model)), {
    executionProviders: [isWeb ? 'wasm' : 'cpu'],
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    enableCpuMemArena: true,
    enableMemPattern: true,
  });
  const feeds = workload.each((rows, set) =>
    Object.fromEntries(
      workload
        .inputsOf(rows, set)
        .map(({ name, width, ids, values }) => [name, new ort.Tensor(ids ? 'int64' : 'float32', values, [rows, width])]),
    ),
  );
  return {
    version,
    settings: `one thread, SIMD, all graph optimisations, input tensors made before${model === 'model.onnx' ? '' : ', model of 8 bits (QDQ)'}`,
    files: isWeb ? [join(at, 'dist/ort-wasm-simd-threaded.wasm')] : [],
    rows: workload.rows,
    sets: workload.sets,
    isAsync: true,
    call: async (rows, set) => (await session.run(feeds[rows][set])).score.data,
  };
}
