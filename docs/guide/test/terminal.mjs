// Terminals: one in which a guide's commands are typed, and one for each server that it starts.
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';

/** Longest that a command may take, and that a server may take to be ready, milliseconds. */
const PATIENCE = 120_000;
const END = '\u0004';

/** Starts a shell that runs commands one after the other, so that `cd` and variables stay as a reader expects. */
export function openTerminal(cwd, env) {
  const shell = spawn('bash', ['--noprofile', '--norc'], { cwd, env, detached: true, stdio: ['pipe', 'pipe', 'ignore'] });
  let printed = '';
  let wake = () => undefined;
  shell.stdout.setEncoding('utf8').on('data', (text) => {
    printed += text;
    wake();
  });
  shell.on('exit', () => wake());
  shell.stdin.on('error', () => undefined);
  shell.stdin.write('exec 2>&1\n');
  return {
    /** Runs a command; what it prints on either stream, and its exit code. */
    async run(command) {
      printed = '';
      // By `eval`, so that a command that is no shell ends as one that fails; and nothing reads the commands that come later.
      shell.stdin.write(`eval '${command.replaceAll("'", "'\\''")}' < /dev/null; printf '${END}%s${END}' $?\n`);
      const finished = new RegExp(`^([^]*)${END}(\\d+)${END}$`);
      await until(() => finished.test(printed) || shell.exitCode !== null, (woken) => (wake = woken), () => endGroup(shell), command);
      const [, output, code] = finished.exec(printed) ?? [undefined, printed, '-1'];
      return { output, code: Number(code) };
    },
    close: () => endGroup(shell),
  };
}

/** Starts a server and waits until it has printed what the guide shows. */
export async function startServer(command, isReady, cwd, env) {
  const server = spawn('bash', ['--noprofile', '--norc', '-c', `exec 2>&1; ${command}`], { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'ignore'] });
  let printed = '';
  let wake = () => undefined;
  server.stdout.setEncoding('utf8').on('data', (text) => {
    printed += text;
    wake();
  });
  server.on('exit', () => wake());
  try {
    await until(() => isReady(printed) || server.exitCode !== null, (woken) => (wake = woken), () => endGroup(server), command);
  } catch (error) {
    throw new Error(`${error.message}; it printed:\n${printed}`);
  }
  if (server.exitCode !== null) throw new Error(`\`${command}\` ended with code ${server.exitCode}:\n${printed}`);
  return { printed: () => printed, close: () => endGroup(server) };
}

async function until(isDone, onWake, giveUp, what) {
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    giveUp();
  }, PATIENCE);
  try {
    while (!isDone()) {
      if (isLate) throw new Error(`\`${what}\` took more than ${PATIENCE / 1000} s`);
      await new Promise(onWake);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Ends a process with all that it started. */
async function endGroup(process_) {
  if (process_.exitCode !== null || process_.signalCode !== null) return;
  const gone = new Promise((resolve) => process_.once('close', resolve));
  signalGroup(process_, 'SIGTERM');
  const timer = setTimeout(() => signalGroup(process_, 'SIGKILL'), 5_000);
  await gone;
  clearTimeout(timer);
}

function signalGroup({ pid }, signal) {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

/** Ports that nobody listens on, as many as are asked for. */
export async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer());
  await Promise.all(servers.map((server) => new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
