// A guide as steps: what a reader would do, block by block.
//
// The words after a fence's language say what its block is; docs/guide/README.md tells readers what they need to know of it.
//
//   toml features.toml      a file; >>features.toml appends to it
//   console                 lines after `$ ` are run, what stands below them is what they print
//   console background      a server in another terminal: it runs until the guide ends
//   text page URL           what a browser shows there
//   js devtools URL         lines after `> ` are typed into that page's console; offline URL: without a network
//   rust quote PATH         a file of the checkout, word for word
//   console not-run         nobody runs it, and the paragraph below says why
import { readFileSync } from 'node:fs';

const FENCE = /^(`{3,})\s*(.*)$/;
const GOES_ON = /^> Goes on where \[[^\]]*\]\(([^)#]+)\) ends/;
const NOT_RUN = /^\*Not run by the tests:\s+\S/;

/** Reads a guide; throws where a block is nobody's to run. */
export function readGuide(path) {
  return stepsOf(readFileSync(path, 'utf8'), path);
}

/** The steps of a guide, and the guide in whose directory it goes on, if any. */
export function stepsOf(markdown, name) {
  const lines = markdown.split('\n');
  const guide = { goesOn: undefined, steps: [] };
  let prose = '';
  for (let at = 0; at < lines.length; at++) {
    const fence = FENCE.exec(lines[at]);
    if (!fence) {
      guide.goesOn ??= GOES_ON.exec(lines[at])?.[1];
      prose += `${lines[at]}\n`;
      continue;
    }
    const line = at + 1;
    const end = lines.indexOf(fence[1], at + 1);
    if (end < 0) throw new Error(`${name}:${line}: the block does not end`);
    const content = lines.slice(at + 1, end);
    const below = lines.slice(end + 1).find((line) => line !== '') ?? '';
    try {
      guide.steps.push({ line, ...step(fence[2].split(/\s+/), content, { prose, below }) });
    } catch (error) {
      throw new Error(`${name}:${line}: ${error.message}`);
    }
    at = end;
  }
  return guide;
}

function step([language, what, ...rest], content, { prose, below }) {
  const address = rest.at(-1);
  if (what === 'not-run') {
    if (!NOT_RUN.test(below)) throw new Error('below a block that is not run stands `*Not run by the tests: ...*`');
    return { kind: 'not-run' };
  }
  if (language === 'console' && (what === undefined || what === 'background')) {
    return { kind: what ?? 'console', commands: transcript(content, '$ ') };
  }
  if (what === 'page' && address) return { kind: 'page', address, shown: content };
  if (what === 'devtools' && address) {
    return { kind: 'devtools', address, isOffline: rest[0] === 'offline', commands: transcript(content, '> ') };
  }
  if (what === 'quote' && address) return { kind: 'quote', path: address, content: content.map((line) => `${line}\n`).join('') };
  if (what && rest.length === 0) {
    const path = what.replace(/^>>/, '');
    if (!prose.includes(`\`${path}\``)) throw new Error(`the text above does not name the file \`${path}\``);
    return { kind: 'file', path, appends: path !== what, content: content.map((line) => `${line}\n`).join('') };
  }
  throw new Error(`nobody runs this block: \`${[language, what, ...rest].filter(Boolean).join(' ')}\``);
}

/** What is typed and what is printed; a backslash at the end goes on in the next line. */
function transcript(content, prompt) {
  const commands = [];
  for (const line of content) {
    const last = commands.at(-1);
    if (line.startsWith(prompt)) commands.push({ command: line.slice(prompt.length), output: [] });
    else if (last?.output.length === 0 && last.command.endsWith('\\')) last.command += `\n${line}`;
    else if (last) last.output.push(line);
    else throw new Error(`the block begins with output: \`${line}\``);
  }
  if (commands.length === 0) throw new Error('there is nothing to run in it');
  return commands;
}

/** Whether what is shown is what was printed. `…` stands for any part of a line, `...` alone for any lines. */
export function isShown(shown, printed) {
  const literal = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const pattern = shown.map((line) =>
    line.trim() === '...' ? '(?:.*\n)*?' : `${line.trimEnd().split('…').map(literal).join('.*')}\n`,
  );
  const tidy = printed.split('\n').map((line) => line.trimEnd()).join('\n').trimEnd();
  return new RegExp(`^${pattern.join('')}$`).test(`${tidy}\n`);
}
