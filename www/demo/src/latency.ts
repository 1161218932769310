/** How long decisions took in this tab, as a histogram: measured around the call, so with the request's encoding. */
import { element, one } from './dom.js';

/** Upper edges in milliseconds; the last bar is what is beyond. */
const EDGES = [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10] as const;
/** Enough for a percentile, and bounded. */
const KEPT = 5000;

const times: number[] = [];

export function addTimes(more: readonly number[]): void {
  times.push(...more);
  times.splice(0, Math.max(0, times.length - KEPT));
  write();
}

function write(): void {
  const sorted = [...times].sort((a, b) => a - b);
  const [median, p99] = [percentile(sorted, 0.5), percentile(sorted, 0.99)];
  one('#median').textContent = milliseconds(median);
  one('#p99').textContent = milliseconds(p99);
  one('#timed').textContent = times.length.toLocaleString('en');
  const counts = histogram(sorted);
  const most = Math.max(...counts, 1);
  const bars = counts.map((count, at) => {
    const bar = element('span', { className: 'column' });
    bar.style.setProperty('--share', String(count / most));
    bar.title = `${edge(at)}: ${count}`;
    return bar;
  });
  const chart = one('#histogram');
  chart.replaceChildren(...bars);
  chart.setAttribute('aria-label', `Histogram of ${times.length} decisions: median ${milliseconds(median)}, 99th percentile ${milliseconds(p99)}`);
  one('#clock-note').textContent = `Measured around the call, in this tab. The browser coarsens its clock to ${
    crossOriginIsolated ? '5 µs, because this page is isolated' : '100 µs'
  }.`;
}

function histogram(sorted: readonly number[]): number[] {
  const counts = new Array<number>(EDGES.length + 1).fill(0);
  for (const time of sorted) {
    const at = EDGES.findIndex((limit) => time <= limit);
    const place = at < 0 ? EDGES.length : at;
    counts[place] = (counts[place] ?? 0) + 1;
  }
  return counts;
}

const edge = (at: number): string => (at < EDGES.length ? `up to ${EDGES[at]} ms` : `beyond ${EDGES[EDGES.length - 1]} ms`);

/** Nearest rank. */
function percentile(sorted: readonly number[], share: number): number | undefined {
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

function milliseconds(time: number | undefined): string {
  if (time === undefined) return '–';
  return time < 1 ? `${Math.round(time * 1000)} µs` : `${time.toFixed(1)} ms`;
}
