// A workload's folder, as `prepare.py` wrote it.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { matrices } from './selvedge.mjs';

export function open(folder) {
  const about = JSON.parse(readFileSync(join(folder, 'workload.json'), 'utf8'));
  // How long does it take to start? Then one input is enough.
  if (process.env.ONCE) Object.assign(about, { rows: about.rows.filter((rows) => rows === 100), sets: 1 });
  const width = about.columns.length;
  const read = (name) => readFileSync(join(folder, name));
  return {
    ...about,
    read,
    has: (name) => existsSync(join(folder, name)),
    /** By input: the values of all rows, `Float32Array`, or `BigInt64Array` of ids. */
    inputsOf(rows, set) {
      const bytes = read(`inputs-${rows}.f32`);
      const all = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
      const start = set * rows * width;
      let column = 0;
      return about.inputs.map((input) => {
        const kind = input.ids ? BigInt64Array : Float32Array;
        const values = new kind(rows * input.width);
        for (let row = 0; row < rows; row++) {
          for (let at = 0; at < input.width; at++) {
            const value = all[start + row * width + column + at];
            values[row * input.width + at] = input.ids ? BigInt(value) : value;
          }
        }
        column += input.width;
        return { name: input.name, width: input.width, ids: input.ids, values };
      });
    },
    /** What our `predict` takes, `[rows][set]`. */
    matrices() {
      return Object.fromEntries(about.rows.map((rows) => [rows, matrices(read(`inputs-${rows}.f32`), about.sets, rows, width)]));
    },
    /** Something for each number of rows and each set: `byRows[rows][set]`. */
    each(make) {
      const sets = Array.from({ length: about.sets }, (_, set) => set);
      return Object.fromEntries(about.rows.map((rows) => [rows, sets.map((set) => make(rows, set))]));
    },
  };
}

/** A package of the peer's folder, as `import` and `require` find it. */
export function installed(name) {
  const folder = join(process.env.PEER, 'node_modules', name);
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  return {
    version,
    folder,
    require: () => createRequire(join(process.env.PEER, 'package.json'))(name),
    from: (file) => import(pathToFileURL(join(folder, file)).href),
  };
}
