// A small bundle, compiled by the command line of this build.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const selvedge = process.env.SELVEDGE ?? fileURLToPath(new URL('../../../target/debug/selvedge', import.meta.url));

/** A bundle that ranks by price, dearest first, and counts views of items; `more` is added to its declarations. */
export function makeBundle(priceWeight = 1, more = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-worker-'));
  const file = (name, text) => {
    writeFileSync(join(directory, name), text);
    return join(directory, name);
  };
  const features = file(
    'features.toml',
    `version = 1
[fields.item]
price = "number"
brand = "string"
${more.items ?? ''}[fields.context]
query = "tokens"
[events]
view = {}
[[feature]]
name = "price"
kind = "number"
field = "item.price"
default = 0
[[feature]]
name = "viewed"
kind = "decayed_count"
scope = "user"
event = "view"
by = "item"
half_life = "30d"
${more.features ?? ''}`,
  );
  const model = file(
    'model.toml',
    `version = 1
[model]
name = "shop"
kind = "linear"
objective = "lambdarank"
features = "features.toml"
[slate]
size = 500
${more.slate ?? ''}`,
  );
  const trained = file('trained.json', JSON.stringify({ kind: 'linear', bias: 0, weights: { price: priceWeight, viewed: 1000, ...more.weights } }));
  const out = join(directory, 'bundle.svb');
  try {
    execFileSync(selvedge, ['--quiet', 'compile', '--features', features, '--model', model, '--trained', trained, '--out', out]);
    return readFileSync(out);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

export const bundleId = (bytes) => Buffer.from(bytes.subarray(32, 64)).toString('hex');
