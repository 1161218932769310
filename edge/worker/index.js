// The entry of the Worker: hands the module what is its business, and stays there when the module does not.
//
// A trap ends an instance. The request that met it gets what the origin says, and the next one a new instance. What is no
// feed, page or API, and every request that may change something at the shop, goes to the origin without the module: it is
// sent once, whatever happens here.
import { DurableObject } from 'cloudflare:workers';

import * as bound from './selvedge_worker.js';
import module from './selvedge_worker_bg.wasm';

/** Longest that a request may stay in the module, milliseconds. A trap of which nobody hears leaves it there for ever. */
const PATIENCE = 30_000;

/** How often the API is asked when instances trap: once, and again for what another request did and its own. */
const ATTEMPTS = 3;

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
  const timer = setTimeout(() => stop(new Error('the module does not answer')), PATIENCE);
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

/** Whether the module has a say in this request. */
function isOurs(request, env) {
  try {
    revive();
    return bound.takes(request.method, request.url, env);
  } catch (error) {
    die(error);
    return false;
  }
}

/** What the shop says without us. */
async function withoutUs(request, env, reason) {
  const { origin } = env.SELVEDGE ?? {};
  const { pathname, search } = new URL(request.url);
  const address = typeof origin === 'string' ? origin.replace(/\/+$/, '') + pathname + search : request.url;
  let answer;
  try {
    answer = await fetch(new Request(address, request));
  } catch (error) {
    console.error('selvedge: the origin cannot be reached', error);
    return new Response(null, { status: 502, headers: { 'Selvedge-Status': 'fallback; reason="origin-unreachable"' } });
  }
  if (!reason) return answer;
  const response = new Response(answer.body, answer);
  response.headers.set('Selvedge-Status', `fallback; reason="${reason}"`);
  return response;
}

/** What the API says without the module. */
function unanswered(reason) {
  const error = { code: reason, message: 'the engine is starting anew; ask again' };
  return Response.json({ error }, { status: 503, headers: { 'retry-after': '1' } });
}

export default {
  async fetch(request, env, context) {
    context.passThroughOnException();
    if (!isOurs(request, env)) return withoutUs(request, env);
    const { pathname } = new URL(request.url);
    const isApi = pathname.startsWith('/v1/');
    // Events may have been counted already; everything else of the API can be asked again.
    let left = isApi && pathname !== '/v1/events' ? ATTEMPTS : 1;
    for (;;) {
      left -= 1;
      const again = left > 0 ? request.clone() : undefined;
      try {
        return await call(() => bound.fetch(request, env, context));
      } catch (error) {
        console.error('selvedge', error);
        const reason = error instanceof WebAssembly.RuntimeError ? 'trap' : 'internal';
        if (!again) return isApi ? unanswered(reason) : withoutUs(request, env, reason);
        request = again;
      }
    }
  },
};

/** A class whose objects outlive an instance of the module: each makes its other half anew when that is gone. */
const lasting = (name) =>
  class extends DurableObject {
    #half;
    #generation = -1;

    #call(into) {
      revive();
      if (this.#generation !== generation) {
        this.#half = new bound[name](this.ctx, this.env);
        this.#generation = generation;
      }
      return call(() => into(this.#half));
    }

    fetch(request) {
      return this.#call((half) => half.fetch(request));
    }

    alarm() {
      return this.#call((half) => half.alarm());
    }
  };

/** A user's state. It sets no alarm. */
export class User extends lasting('User') {}

/** Money for offers, and what was decided about the users of a shard. */
export class Budget extends lasting('Budget') {}
