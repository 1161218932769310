// Ours in Node. `score` is what other engines do: inputs in, scores out. Beside it, for where time goes, `decide`, which makes
// a slate as well, and `features`, which stops before the model.
import { readFileSync } from 'node:fs';

import { open } from './workload.mjs';
import { engine } from './selvedge.mjs';

const QUESTIONS = { 'selvedge-node-decide': 'decide', 'selvedge-node-features': 'features' };

export async function load(folder, name) {
  const { GUEST: file, VERSION: version } = process.env;
  const workload = open(folder);
  const question = QUESTIONS[name] ?? 'score';
  const requests = workload.each((rows, set) => workload.read(`request-${rows}-${set}.svrq`));
  const ours = engine(new WebAssembly.Module(readFileSync(file)), workload.read('bundle.svb'), requests, question);
  return { ...ours, version, settings: `the guest module, \`${question}\` on encoded requests`, files: [file] };
}
