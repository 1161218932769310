// Cases of the conformance corpus; `docs/conformance.md` is the layout of the file.
import { readFileSync } from 'node:fs';

const NONE = 0xffff_ffff;
const bytes = readFileSync(new URL('../../../edge/conformance/corpus/v1.bin', import.meta.url));
let at = 8;

function word() {
  at += 4;
  return bytes.readUInt32LE(at - 4);
}

function block() {
  const length = word();
  at += length;
  return bytes.subarray(at - length, at);
}

const [, containers, count] = [word(), word(), word()];
const container = Array.from({ length: containers }, block);
const cases = new Map();
for (let left = count; left > 0; left--) {
  const name = block().toString('utf8');
  const [bundle, shared] = [word(), word(), word()].map((position) => (position === NONE ? undefined : container[position]));
  cases.set(name, { bundle, shared, request: block(), decision: block() });
}

/** Bundle, shared state, request and decision of the case of this name. */
export function corpusCase(name) {
  const found = cases.get(name);
  if (!found) throw new Error(`the corpus has no case ${name}`);
  return found;
}
