// TensorFlow.js with its WebAssembly backend, one thread with SIMD.
//
// tfjs reads no ONNX, so networks are written in its operations, with the fused dense layer that its converter emits. Inputs
// are tensors already; a call runs the layers and reads the scores.
import { join } from 'node:path';

import { installed, open } from './workload.mjs';

export async function load(folder) {
  const workload = open(folder);
  if (!workload.has('weights.json')) throw new Error('tfjs has no decision trees');
  const tf = installed('@tensorflow/tfjs').require();
  const backend = installed('@tensorflow/tfjs-backend-wasm');
  backend.require();
  // Of several threads, one would do the work and the others wait.
  tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', false);
  await tf.setBackend('wasm');
  await tf.ready();
  if (!tf.env().get('WASM_HAS_SIMD_SUPPORT')) throw new Error('tfjs sees no SIMD here');
  const weights = Object.fromEntries(
    Object.entries(JSON.parse(workload.read('weights.json'))).map(([name, { shape, values }]) => [name, tf.tensor(values, shape)]),
  );
  const inputs = workload.each((rows, set) =>
    workload.inputsOf(rows, set).map(({ width, ids, values }) => tf.tensor(ids ? Int32Array.from(values, Number) : values, [rows, width])),
  );
  const dense = (a, layer, activation) =>
    tf.fused.matMul({ a, b: weights[`${layer}_w`], bias: weights[`${layer}_b`], activation });
  const network = workload.name === 'din' ? din(tf, weights, dense) : ([x]) => dense(dense(dense(x, 'a', 'relu'), 'b', 'relu'), 'c', 'linear');
  return {
    version: backend.version,
    settings: 'one thread, SIMD, fused dense layers, input tensors made before',
    files: [join(backend.folder, 'dist/tfjs-backend-wasm-simd.wasm')],
    rows: workload.rows,
    sets: workload.sets,
    isAsync: false,
    call: (rows, set) => {
      const score = tf.tidy(() => network(inputs[rows][set]));
      const values = score.dataSync();
      score.dispose();
      return values;
    },
  };
}

/** The network of `prepare.py`. */
function din(tf, weights, dense) {
  const { table } = weights;
  const [, dim] = table.shape;
  return ([ids, product]) => {
    const [rows, length] = ids.shape;
    const history = tf.gather(table, ids.flatten());
    const item = tf.gather(table, product.flatten());
    const query = tf.tile(item.expandDims(1), [1, length, 1]).reshape([rows * length, dim]);
    const parts = tf.concat([query, history, tf.sub(query, history), tf.mul(query, history)], 1);
    const weight = dense(dense(dense(parts, 'a', 'relu'), 'b', 'relu'), 'c', 'linear').reshape([rows, 1, length]);
    const pooled = tf.matMul(weight, history.reshape([rows, length, dim])).reshape([rows, dim]);
    return dense(dense(dense(tf.concat([pooled, item], 1), 'd', 'relu'), 'e', 'relu'), 'f', 'linear');
  };
}
