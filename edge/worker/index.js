// The entry of the Worker: hands requests to the module, and stays there when the module does not.
//
// A trap ends an instance. The request that met it gets what the origin says, and the next one a new instance.
import { DurableObject } from 'cloudflare:workers';

import * as bound from './selvedge_worker.js';
import module from './selvedge_worker_bg.wasm';

/** Longest that a request may stay in the module, milliseconds: an instance that trapped answers no more. */
const PATIENCE = 10_000;

let generation = 0;
let isDead = false;
bound.initSync({ module });

/** Those who wait for an answer of this instance. */
const waiting = new Set();

function die(error) {
  if (isDead) return;
  isDead = true;
  console.error('selvedge: the module trapped', error);
  for (const reject of waiting) reject(error);
  waiting.clear();
}

// Where the module awaits, a trap surfaces in the event loop and not in the call.
addEventListener('error', ({ error }) => {
  if (error instanceof WebAssembly.RuntimeError) die(error);
});
addEventListener('unhandledrejection', ({ reason }) => {
  if (reason instanceof WebAssembly.RuntimeError) die(reason);
});

function revive() {
  if (!isDead) return;
  bound.__wbg_reset_state();
  isDead = false;
  generation += 1;
}

/** Calls into the module; rejects when it traps meanwhile. */
async function call(into) {
  revive();
  let stop;
  const dead = new Promise((_, reject) => {
    stop = reject;
    waiting.add(reject);
  });
  dead.catch(() => undefined);
  const timer = setTimeout(() => die(new WebAssembly.RuntimeError('no answer')), PATIENCE);
  try {
    return await Promise.race([into(), dead]);
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) die(error);
    throw error;
  } finally {
    clearTimeout(timer);
    waiting.delete(stop);
  }
}

/** What the shop says without us. */
async function withoutUs(request, env, reason) {
  const { origin } = env.SELVEDGE ?? {};
  const { pathname, search } = new URL(request.url);
  if (pathname.startsWith('/v1/')) {
    const error = { code: reason, message: 'the engine is starting anew; ask again' };
    return Response.json({ error }, { status: 503, headers: { 'retry-after': '1' } });
  }
  const address = origin ? origin.replace(/\/+$/, '') + pathname + search : request.url;
  const answer = await fetch(new Request(address, request));
  const response = new Response(answer.body, answer);
  response.headers.set('Selvedge-Status', `fallback; reason="${reason}"`);
  return response;
}

export default {
  async fetch(request, env, context) {
    context.passThroughOnException();
    // A body can be read once: what is sent on after a trap must be another copy.
    const copy = request.body ? request.clone() : new Request(request);
    try {
      return await call(() => bound.fetch(request, env, context));
    } catch (error) {
      console.error('selvedge', error);
      return withoutUs(copy, env, error instanceof WebAssembly.RuntimeError ? 'trap' : 'internal');
    }
  },
};

/** A user's state. The object outlives an instance of the module, so it makes its other half anew when that is gone. */
export class User extends DurableObject {
  #half;
  #generation = -1;

  async fetch(request) {
    revive();
    if (this.#generation !== generation) {
      this.#half = new bound.User(this.ctx, this.env);
      this.#generation = generation;
    }
    return call(() => this.#half.fetch(request));
  }
}
