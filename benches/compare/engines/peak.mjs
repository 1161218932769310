// What the vector unit gives in Node: multiplications and additions of four f32 with nothing else to do.
import { readFileSync } from 'node:fs';

export async function load(file) {
  const { run } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file)), {}).exports;
  return {
    version: process.version,
    settings: 'a loop of f32x4.mul and f32x4.add over values that do not wait for each other',
    rows: [1],
    sets: 1,
    isAsync: false,
    call: () => [run()],
  };
}
