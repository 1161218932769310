// Measures the faces of JavaScript hosts: `cargo xtask bench faces [--quick] [--json FILE]`.
//
// The clocks are this machine's. In production a Worker's clock stands still while it computes, and the network between
// shopper, edge and origin outweighs all of this.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { chromium } from './chromium.mjs';
import { node } from './node.mjs';
import { faults, worker } from './worker.mjs';

const { values } = parseArgs({ options: { json: { type: 'string' }, quick: { type: 'boolean', default: false } } });
const command = `cargo xtask bench faces${values.quick ? ' --quick' : ''}`;
const figures = [];
for (const measure of [worker, chromium, node, faults]) {
  console.error(`measuring: ${measure.name}`);
  for (const figure of await measure({ isQuick: values.quick })) figures.push({ target: null, ...figure, command });
}

const number = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(value < 10 ? 2 : 1));
const rows = figures.map(({ face, what, median, p99, unit, spread, target }) => [
  face,
  what,
  `${number(median)} ${unit}`,
  spread ? `${number(spread[0])} to ${number(spread[1])}` : '',
  number(p99),
  target === null ? '' : `${median <= target ? 'met' : 'missed'}: ${target}`,
]);
const table = [['face', 'what', 'median', 'medians of rounds', 'p99', 'target'], ...rows];
const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)));
for (const row of table) console.log(row.map((cell, column) => cell.padEnd(widths[column])).join('  ').trimEnd());
console.log('\nOn this machine, over loopback: a Worker in production has another clock and a network.');
if (values.json) writeFileSync(values.json, `${JSON.stringify(figures, null, 2)}\n`);
process.exit(0);
