// YDF in WebAssembly, with trees that YDF trained on the same rows: it reads no others.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

import { installed, open } from './workload.mjs';

export async function load(folder) {
  const workload = open(folder);
  if (!workload.has('ydf.zip')) throw new Error(workload.has('weights.json') ? 'YDF has no networks' : 'there is no model of YDF: its Python package is not installed');
  const { version, require, folder: at } = installed('ydf-inference');
  const ydf = await require()();
  const model = await ydf.loadModelFromZipBlob(workload.read('ydf.zip'));
  // Columns, as its interface takes them.
  const inputs = workload.each((rows, set) => {
    const [{ width, values }] = workload.inputsOf(rows, set);
    const column = (at) => Array.from({ length: rows }, (_, row) => values[row * width + at]);
    return Object.fromEntries(Array.from({ length: width }, (_, at) => [`f${at}`, column(at)]));
  });
  return {
    version,
    settings: 'as it comes; trees trained by YDF on the same rows',
    files: readdirSync(join(at, 'dist'), { recursive: true }).filter((file) => file.endsWith('.wasm')).map((file) => join(at, 'dist', file)),
    rows: workload.rows,
    sets: workload.sets,
    isAsync: false,
    call: (rows, set) => model.predict(inputs[rows][set]),
  };
}
