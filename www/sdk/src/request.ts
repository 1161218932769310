/**
 * Writes columnar requests; `docs/format/request.md` is the layout.
 *
 * Buffers are kept from request to request, so after the largest one nothing grows any more. Text goes straight from
 * JavaScript strings into the heap of the request.
 */
import { SelvedgeError } from './errors.js';
import type { Candidate, Context, OfferQuestion, RankOptions, Value } from './types.js';

const FRAME = 16;
const FIXED = 48;
const ENTRY = 24;
const TAG = { ids: 1, heap: 2, state: 3, pins: 4, exclude: 5, column: 6, offer: 7 } as const;
const MAX_TIME_MS = 253_402_300_799_999;
const MISSING_TIME = -(2n ** 63n);
/** The price of a budget that nothing may be spent from, and what is left of one that has enough. */
const MOST = 2n ** 64n - 1n;

export const Scope = { item: 0, user: 1, context: 2 } as const;
export type Scope = (typeof Scope)[keyof typeof Scope];
const SCOPES = ['item', 'user', 'context'] as const;

const Type = { number: 0, string: 1, tokens: 2, time: 3 } as const;
const TYPES = ['a number', 'a string', 'a list of strings', 'a Date or milliseconds'] as const;

/** A field as the loaded bundle reads it. */
export interface Field {
  readonly id: bigint;
  readonly type: number;
}

/** Looks a field up in the loaded bundle; null if no feature reads it. */
export type Fields = (scope: Scope, name: string) => Field | null;

/** The key of a text, as formats name it. */
export type KeyOf = (text: string) => bigint;

/** What a decision depends on besides candidates and context. */
export interface Frame {
  readonly requestId: Uint8Array;
  readonly timeMs: number;
  readonly utcOffsetMin: number;
  readonly state: Uint8Array;
}

interface Block {
  tag: number;
  scope: number;
  type: number;
  field: bigint;
  bytes: Uint8Array;
}

/** Bytes that grow and are used again. */
class Buffer {
  bytes = new Uint8Array(1 << 14);
  view = new DataView(this.bytes.buffer);
  length = 0;

  reserve(more: number): void {
    if (this.length + more <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(this.length + more, 2 * this.bytes.length));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
  }

  take(length: number): Uint8Array {
    this.reserve(length);
    const taken = this.bytes.subarray(this.length, this.length + length);
    this.length += length;
    return taken;
  }
}

export class RequestWriter {
  readonly #utf8 = new TextEncoder();
  readonly #heap = new Buffer();
  readonly #out = new Buffer();

  /** The request's bytes, valid until the next call. */
  write(
    candidates: readonly Candidate[],
    context: Context,
    options: RankOptions,
    frame: Frame,
    fields: Fields,
    keyOf: KeyOf,
  ): Uint8Array {
    this.#heap.length = 0;
    const ids = this.#texts(candidates.length, (at) => idOf(candidates[at], at));
    const positions = new Map<string, number>();
    const pins = options.pins ?? [];
    const exclude = options.exclude ?? [];
    if (pins.length > 0 || exclude.length > 0) {
      candidates.forEach((candidate, at) => {
        const id = idOf(candidate, at);
        if (!positions.has(id)) positions.set(id, at);
      });
    }
    const pinned = pins.flatMap(({ id, slot }) => {
      const at = positions.get(id);
      return at === undefined ? [] : [at, slot];
    });
    const excluded = exclude.flatMap((id) => positions.get(id) ?? []);
    const columns = [
      ...this.#columns(Scope.item, candidates, fields),
      ...this.#columns(Scope.user, [options.user ?? {}], fields),
      ...this.#columns(Scope.context, [context], fields),
    ];
    const plain = (tag: number, bytes: Uint8Array): Block => ({ tag, scope: 0, type: 0, field: 0n, bytes });
    const heap = this.#heap.bytes.subarray(0, this.#heap.length);
    const blocks = [plain(TAG.ids, ids), plain(TAG.heap, heap)];
    if (frame.state.length > 0) blocks.push(plain(TAG.state, frame.state));
    if (pinned.length > 0) blocks.push(plain(TAG.pins, words(pinned)));
    if (excluded.length > 0) blocks.push(plain(TAG.exclude, words(excluded)));
    blocks.push(...columns);
    if (options.offer) blocks.push(plain(TAG.offer, offerAsked(options.offer, keyOf)));
    return this.#assemble(blocks, candidates.length, options, frame);
  }

  #assemble(blocks: readonly Block[], candidates: number, options: RankOptions, frame: Frame): Uint8Array {
    const out = this.#out;
    out.length = 0;
    const head = FRAME + FIXED + ENTRY * blocks.length;
    const length = blocks.reduce((end, block) => align(end) + block.bytes.length, head);
    const bytes = out.take(length);
    bytes.fill(0, 0, head);
    const { view } = out;
    bytes.set([0x53, 0x56, 0x52, 0x51]); // "SVRQ"
    view.setUint16(4, 1, true);
    view.setUint16(6, blocks.length, true);
    view.setUint32(8, length, true);
    bytes.set(frame.requestId, 16);
    view.setBigInt64(32, BigInt(clamp(frame.timeMs, 0, MAX_TIME_MS)), true);
    view.setInt32(40, clamp(frame.utcOffsetMin, -1440, 1440), true);
    view.setUint32(44, candidates, true);
    view.setUint32(48, options.slots ?? 0, true);
    view.setUint32(52, options.reasons ?? 0, true);
    let end = head;
    blocks.forEach((block, at) => {
      const start = align(end);
      bytes.fill(0, end, start);
      bytes.set(block.bytes, start);
      end = start + block.bytes.length;
      const entry = FRAME + FIXED + ENTRY * at;
      view.setUint16(entry, block.tag, true);
      view.setUint8(entry + 2, block.scope);
      view.setUint8(entry + 3, block.type);
      view.setBigUint64(entry + 8, block.field, true);
      view.setUint32(entry + 16, start, true);
      view.setUint32(entry + 20, block.bytes.length, true);
    });
    return bytes;
  }

  /** A column for each field of the rows that the bundle reads, in the order in which the rows name them. */
  #columns(scope: Scope, rows: readonly (Candidate | Context)[], fields: Fields): Block[] {
    const names = new Set<string>();
    for (const row of rows) if (typeof row === 'object') for (const name of Object.keys(row)) names.add(name);
    if (scope === Scope.item) names.delete('id');
    const columns: Block[] = [];
    for (const name of names) {
      const field = fields(scope, name);
      if (!field) continue;
      const value = (at: number): Value => {
        const row = rows[at];
        return typeof row === 'object' && Object.hasOwn(row, name) ? (row as Record<string, Value>)[name] : undefined;
      };
      const wrong = (at: number): never => {
        const place = scope === Scope.item ? `candidates[${at}]` : SCOPES[scope];
        throw new SelvedgeError('invalid-value', `${place}.${name} must be ${TYPES[field.type]}`);
      };
      const bytes = this.#column(field.type, rows.length, value, wrong);
      columns.push({ tag: TAG.column, scope, type: field.type, field: field.id, bytes });
    }
    return columns;
  }

  #column(type: number, rows: number, value: (at: number) => Value, wrong: (at: number) => never): Uint8Array {
    switch (type) {
      case Type.number: {
        const bytes = new Uint8Array(4 * rows);
        const view = new DataView(bytes.buffer);
        for (let at = 0; at < rows; at++) {
          const number = value(at) ?? NaN;
          if (typeof number !== 'number') wrong(at);
          view.setFloat32(4 * at, number as number, true);
        }
        return bytes;
      }
      case Type.string:
        return this.#texts(rows, (at) => {
          const text = value(at) ?? '';
          return typeof text === 'string' ? text : wrong(at);
        });
      case Type.tokens: {
        const starts = [0];
        const tokens: string[] = [];
        for (let at = 0; at < rows; at++) {
          const list = value(at) ?? [];
          if (!Array.isArray(list) || !list.every((token) => typeof token === 'string')) wrong(at);
          tokens.push(...(list as string[]));
          starts.push(tokens.length);
        }
        const offsets = this.#texts(tokens.length, (at) => tokens[at] as string);
        const bytes = new Uint8Array(4 * starts.length + offsets.length);
        bytes.set(words(starts));
        bytes.set(offsets, 4 * starts.length);
        return bytes;
      }
      default: {
        const bytes = new Uint8Array(8 * rows);
        const view = new DataView(bytes.buffer);
        for (let at = 0; at < rows; at++) {
          const moment = value(at);
          const ms = moment instanceof Date ? moment.getTime() : moment;
          if (ms !== undefined && ms !== null && !Number.isFinite(ms)) wrong(at);
          view.setBigInt64(8 * at, ms === undefined || ms === null ? MISSING_TIME : BigInt(Math.trunc(ms as number)), true);
        }
        return bytes;
      }
    }
  }

  /** Writes texts into the heap and returns their offsets. */
  #texts(count: number, text: (at: number) => string): Uint8Array {
    const heap = this.#heap;
    const bytes = new Uint8Array(4 * (count + 1));
    const offsets = new DataView(bytes.buffer);
    offsets.setUint32(0, heap.length, true);
    for (let at = 0; at < count; at++) {
      const written = text(at);
      // A UTF-16 unit has at most three bytes in UTF-8.
      heap.reserve(3 * written.length);
      heap.length += this.#utf8.encodeInto(written, heap.bytes.subarray(heap.length)).written;
      offsets.setUint32(4 * (at + 1), heap.length, true);
    }
    return bytes;
  }
}

/** The question for an offer, as a block. */
function offerAsked(asked: OfferQuestion, keyOf: KeyOf): Uint8Array {
  const budgets = Object.entries(asked.budgets ?? {}).map(([name, budget]) => {
    const { price, left } = budget ?? {};
    const micros = price === null ? MOST : BigInt(Math.round(within(price as number, 0, 1e9, `offer.budgets.${name}.price`) * 1e6));
    const most = Number.MAX_SAFE_INTEGER;
    return [keyOf(name), micros, left === undefined ? MOST : whole(left, most, `offer.budgets.${name}.left`)] as const;
  });
  budgets.sort(([one], [other]) => (one < other ? -1 : 1));
  const counts = asked.counts ?? [];
  const bytes = new Uint8Array(40 + 24 * budgets.length + 16 * counts.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, keyOf(asked.campaign ?? ''), true);
  if (asked.draw !== undefined) {
    bytes.set(sixteen(asked.draw) ?? refuse('offer.draw', '16 bytes or 32 hexadecimal digits'), 8);
    view.setUint32(24, 1, true);
  }
  view.setUint32(28, budgets.length, true);
  view.setUint32(32, counts.length, true);
  let at = 40;
  for (const word of budgets.flat()) {
    view.setBigUint64(at, word, true);
    at += 8;
  }
  counts.forEach(({ campaign, cap, count }, position) => {
    const place = `offer.counts[${position}]`;
    view.setBigUint64(at, keyOf(campaign), true);
    view.setUint32(at + 8, Number(whole(cap, 0xffff_ffff, `${place}.cap`)), true);
    view.setUint32(at + 12, Number(whole(count, 0xffff_ffff, `${place}.count`)), true);
    at += 16;
  });
  return bytes;
}

/** 16 bytes, given as such or as 32 hexadecimal digits. */
export function sixteen(given: unknown): Uint8Array | undefined {
  if (typeof given === 'string' && /^[0-9a-f]{32}$/i.test(given)) {
    return Uint8Array.from({ length: 16 }, (_, at) => parseInt(given.slice(2 * at, 2 * at + 2), 16));
  }
  return given instanceof Uint8Array && given.length === 16 ? given : undefined;
}

function refuse(place: string, expected: string): never {
  throw new SelvedgeError('invalid-value', `${place} must be ${expected}`);
}

function within(value: number, least: number, most: number, place: string): number {
  return value >= least && value <= most ? value : refuse(place, `a number from ${least} to ${most}`);
}

function whole(value: number, most: number, place: string): bigint {
  return Number.isInteger(value) ? BigInt(within(value, 0, most, place)) : refuse(place, 'a whole number');
}

/** The id of a candidate. */
export function idOf(candidate: Candidate | undefined, at: number): string {
  const id = typeof candidate === 'object' && candidate !== null ? candidate.id : candidate;
  if (typeof id !== 'string') {
    throw new SelvedgeError('invalid-value', `candidates[${at}] must be an id, or an object with the string \`id\``);
  }
  return id;
}

function words(values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = new DataView(bytes.buffer);
  values.forEach((value, at) => view.setUint32(4 * at, value, true));
  return bytes;
}

function align(offset: number): number {
  return (offset + 3) & ~3;
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(Math.trunc(value) || 0, least), most);
}
