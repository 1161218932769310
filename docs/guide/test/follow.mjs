// Follows guides as a reader would, each in a directory of its own, and fails where one does not do what it says.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { selvedge } from '../../../www/sdk/test/bundle.mjs';
import { openBrowser } from './browser.mjs';
import { isShown, readGuide } from './steps.mjs';
import { freePorts, openTerminal, startServer } from './terminal.mjs';

const checkout = fileURLToPath(new URL('../../../', import.meta.url)).replace(/\/$/, '');

/** Makes a place for guides to be followed in. */
export async function makePlace() {
  const root = mkdtempSync(join(tmpdir(), 'selvedge-guides-'));
  mkdirSync(join(root, 'bin'));
  symlinkSync(resolve(selvedge), join(root, 'bin/selvedge'));
  // What `npx` finds above a guide's directory: the development tools of the checkout, in the versions of its lock.
  mkdirSync(join(root, 'node_modules'));
  symlinkSync(join(checkout, 'node_modules/.bin'), join(root, 'node_modules/.bin'));
  return new Place(root);
}

class Place {
  #root;
  #env;
  #ports = new Map();
  #followed = new Map();
  #browser;

  constructor(root) {
    this.#root = root;
    const { CLOUDFLARE_API_TOKEN: _, CLOUDFLARE_API_KEY: __, CLOUDFLARE_ACCOUNT_ID: ___, ...inherited } = process.env;
    this.#env = {
      ...inherited,
      PATH: `${join(root, 'bin')}:${process.env.PATH}`,
      CHECKOUT: checkout,
      SELVEDGE_GUEST: join(checkout, 'target/guest/selvedge-guest.wasm'),
      // Tools talk as they do to a script, keep what they write in here, and report nothing.
      NO_COLOR: '1',
      FORCE_COLOR: '0',
      CI: '1',
      XDG_CONFIG_HOME: join(root, 'config'),
      WRANGLER_SEND_METRICS: 'false',
      CLOUDFLARE_CF_FETCH_ENABLED: 'false',
      npm_config_offline: 'true',
      npm_config_update_notifier: 'false',
      npm_config_audit: 'false',
      npm_config_fund: 'false',
    };
  }

  /** Follows a guide to its end; the directory in which that left its files. */
  follow(path) {
    const known = this.#followed.get(path);
    if (known) return known;
    const following = this.#follow(path);
    this.#followed.set(path, following);
    return following;
  }

  async #follow(path) {
    const { goesOn, steps } = readGuide(path);
    const directory = join(this.#root, path.replaceAll('/', '_').replace(/\.md$/, ''));
    if (goesOn) cpSync(await this.follow(join(dirname(path), goesOn)), directory, { recursive: true, verbatimSymlinks: true });
    else mkdirSync(directory);
    const open = [];
    const terminal = openTerminal(directory, this.#env);
    open.push(terminal);
    try {
      for (const step of await this.#withFreePorts(steps)) {
        try {
          await this.#take(step, directory, terminal, open);
        } catch (error) {
          throw new Error(`${path}:${step.line}: ${error.message}`, { cause: error });
        }
      }
    } finally {
      for (const { close } of open.reverse()) await close();
    }
    return directory;
  }

  async #take(step, directory, terminal, open) {
    switch (step.kind) {
      case 'file':
        mkdirSync(dirname(join(directory, step.path)), { recursive: true });
        return writeFileSync(join(directory, step.path), step.content, { flag: step.appends ? 'a' : 'w' });
      case 'quote':
        return assert.equal(step.content, readFileSync(join(checkout, step.path), 'utf8'), `this is not what ${step.path} says`);
      case 'console':
        for (const { command, output } of step.commands) check(command, output, await terminal.run(command));
        return undefined;
      case 'background':
        for (const { command, output } of step.commands) {
          open.push(await startServer(command, (printed) => isShown([...output, '...'], printed), directory, this.#env));
        }
        return undefined;
      case 'page':
        return (await this.#openBrowser()).shows(step.address, step.shown);
      case 'devtools':
        for (const { command, output } of step.commands) {
          check(command, output, { output: await (await this.#openBrowser()).evaluate(step.address, command, step.isOffline), code: 0 });
        }
        return undefined;
      default:
        return assert.equal(step.kind, 'not-run');
    }
  }

  /** The same steps with ports that are free here, in place of those that a reader sees. */
  async #withFreePorts(steps) {
    const text = JSON.stringify(steps);
    const named = new Set([...text.matchAll(/127\.0\.0\.1:(\d{4,5})/g)].map(([, port]) => port));
    const fresh = [...named].filter((port) => !this.#ports.has(port));
    const free = await freePorts(fresh.length);
    fresh.forEach((port, at) => this.#ports.set(port, String(free[at])));
    const moved = [...named].reduce((text, port) => text.replaceAll(new RegExp(`(?<![\\d.])${port}(?!\\d)`, 'g'), `@${port}@`), text);
    return JSON.parse(moved.replace(/@(\d+)@/g, (_, port) => this.#ports.get(port)));
  }

  async #openBrowser() {
    this.#browser ??= await openBrowser();
    return this.#browser;
  }

  async close() {
    await this.#browser?.close();
    rmSync(this.#root, { recursive: true, force: true });
  }
}

/** A command must succeed; where the guide shows what it prints, it must print that. */
function check(command, shown, { output, code }) {
  assert.equal(code, 0, `\`${command}\` ends with code ${code}:\n${output}`);
  if (shown.length === 0 || isShown(shown, output)) return;
  assert.fail(`\`${command}\` prints something else than is shown:\n${output}\n--- shown:\n${shown.join('\n')}`);
}
