// Ours in Node. `predict` is what other engines do: a matrix in, scores out. Beside it, for what more costs, `score`, which checks
// a request and computes the features, and `decide`, which makes a slate as well.
import { readFileSync } from 'node:fs';

import { open } from './workload.mjs';
import { engine } from './selvedge.mjs';

const QUESTIONS = { 'selvedge-node-score': 'score', 'selvedge-node-decide': 'decide' };

export async function load(folder, name) {
  const { GUEST: file, VERSION: version } = process.env;
  const workload = open(folder);
  const question = QUESTIONS[name] ?? 'predict';
  const inputs = question === 'predict' ? workload.matrices() : workload.each((rows, set) => workload.read(`request-${rows}-${set}.svrq`));
  const ours = engine(new WebAssembly.Module(readFileSync(file)), workload.read('bundle.svb'), inputs, question);
  const given = question === 'predict' ? 'rows of features, which lie ready' : 'encoded requests';
  return { ...ours, version, settings: `the guest module, \`${question}\` on ${given}`, files: [file] };
}
