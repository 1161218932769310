/** Where a product stands against where it stood. */

export interface Movement {
  /** Places up; negative is down. */
  readonly places: number;
  /** For the eye and for the ear. */
  readonly sign: string;
  readonly words: string;
}

export function movement(from: number, to: number): Movement {
  const places = from - to;
  if (places === 0) return { places, sign: '=', words: 'where the flyer has it' };
  const count = Math.abs(places);
  const unit = count === 1 ? 'place' : 'places';
  return places > 0
    ? { places, sign: `▲ ${count}`, words: `up ${count} ${unit} from the flyer` }
    : { places, sign: `▼ ${count}`, words: `down ${count} ${unit} from the flyer` };
}

/** What a decision changed, as one sentence: how many products moved, and which one rose most. */
export function changes(before: readonly string[], after: readonly string[], name: (id: string) => string): string {
  const was = new Map(before.map((id, at) => [id, at]));
  const moved = after.filter((id, at) => was.get(id) !== at);
  if (moved.length === 0) return 'Nothing moved.';
  const rise = (id: string): number => (was.get(id) ?? before.length) - after.indexOf(id);
  const [risen] = [...moved].sort((a, b) => rise(b) - rise(a));
  const count = `${moved.length} ${moved.length === 1 ? 'product' : 'products'} moved`;
  if (risen === undefined || rise(risen) <= 0) return `${count}.`;
  const from = was.get(risen);
  const place = from === undefined ? 'came in at' : `rose from ${from + 1} to`;
  return `${count}. ${name(risen)} ${place} ${after.indexOf(risen) + 1}.`;
}
