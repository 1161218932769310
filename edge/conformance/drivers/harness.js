// Runs the corpus in any JavaScript host; `docs/conformance.md` describes the files.
import { instantiate } from '../../../www/sdk/src/module.ts';

const NONE = 0xffff_ffff;

/** Reads words and blocks, one after the other. */
class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  word() {
    this.at += 4;
    return this.view.getUint32(this.at - 4, true);
  }

  block() {
    const length = this.word();
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  text() {
    return new TextDecoder().decode(this.block());
  }
}

/**
 * Decides every case with engines of `module`. `trace` is what `selvedge-conformance trace` writes, for the words about
 * a difference.
 * @returns {{cases: number, equal: number, difference: string | null}}
 */
export function run(module, corpus, trace) {
  const reader = new Reader(corpus);
  if (new TextDecoder().decode(corpus.subarray(0, 8)) !== 'SVCORPUS') throw new Error('this is no corpus');
  reader.at = 8;
  const [version, containers, cases] = [reader.word(), reader.word(), reader.word()];
  if (version !== 1) throw new Error(`a corpus of version ${version}`);
  const container = Array.from({ length: containers }, () => reader.block());
  const traced = new Reader(trace);
  let equal = 0;
  let difference = null;
  for (let at = 0; at < cases; at++) {
    const name = reader.text();
    const [bundle, shared, refusal] = [reader.word(), reader.word(), reader.word()];
    const [request, decision] = [reader.block(), reader.block()];
    const expected = { features: traced.block(), scores: traced.block(), operations: traced.text().split('\n') };
    const engine = instantiate(module);
    const refused = bundle === NONE ? 0 : engine.load(container[bundle]);
    if (shared !== NONE) engine.load(container[shared]);
    const found = engine.decide(request);
    if (refused === refusal && firstDifference(found, decision) === null) equal += 1;
    else difference ??= `${name}: ${describe(engine, request, expected, { refused, refusal, found, decision })}`;
    engine.free();
  }
  return { cases, equal, difference };
}

/** The first value that differs, on the way from load to decision. */
function describe(engine, request, expected, { refused, refusal, found, decision }) {
  if (refused !== refusal) return `the load ends with error ${refused}, not ${refusal}`;
  const features = engine.features(request);
  let at = firstDifference(features, expected.features);
  if (at !== null && at >= 8) {
    const candidates = word(expected.features, 0);
    const [feature, candidate] = [Math.floor((at - 8) / 4 / candidates), ((at - 8) / 4) % candidates];
    const operation = expected.operations[feature] ?? '?';
    return `candidate ${candidate}, feature ${feature} (${operation}): ${hex(features, at)}, not ${hex(expected.features, at)}`;
  }
  const scores = engine.score(request);
  at = firstDifference(scores, expected.scores);
  if (at !== null) return `candidate ${at / 4}, score (the model): ${hex(scores, at)}, not ${hex(expected.scores, at)}`;
  at = firstDifference(found, decision) ?? 0;
  return `the decision at byte ${at} (slate, after equal scores): ${hex(found, at)}, not ${hex(decision, at)}`;
}

/** Offset of the first word that differs; null if there is none. */
function firstDifference(a, b) {
  const length = Math.max(a.length, b.length);
  for (let at = 0; at < length; at++) if (a[at] !== b[at]) return at & ~3;
  return null;
}

function word(bytes, at) {
  let value = 0;
  for (let byte = 3; byte >= 0; byte--) value = value * 256 + (bytes[at + byte] ?? 0);
  return value;
}

function hex(bytes, at) {
  return at < bytes.length ? `0x${word(bytes, at).toString(16).padStart(8, '0')}` : 'the end';
}
