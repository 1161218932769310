/**
 * The user's state on the device, in IndexedDB.
 *
 * A change is one read-write transaction: read what is there, apply, write. IndexedDB runs such transactions of all tabs
 * one after the other and drops one that does not finish, so no tab loses another's event, and a tab that is killed while
 * it writes leaves the state as it was. Other tabs hear of a change through a BroadcastChannel.
 */

const DATABASE = 'selvedge';
const VERSION = 1;
const STATES = 'states';
/** States beyond this many users go, the least recently written first. */
const MAX_USERS = 8;
/** How long the database may take to open, milliseconds: some browsers never answer. */
const OPEN_PATIENCE = 2_000;
/** A state is a few kilobytes; what is larger is none of ours. */
const MAX_STATE_BYTES = 1 << 20;

/** What is stored for a user. */
export interface Stored {
  readonly state: Uint8Array;
  /** Counts the writes. */
  readonly revision: number;
  /** Stands for this browser in the state. */
  readonly device: bigint;
  readonly written: number;
}

export class StateStore {
  readonly #database: IDBDatabase;
  readonly #user: string;
  readonly #channel: BroadcastChannel | undefined;

  private constructor(database: IDBDatabase, user: string, changed: (revision: number) => void) {
    this.#database = database;
    this.#user = user;
    // A newer version of the package, in another tab, wants to change the layout: let it.
    database.onversionchange = () => database.close();
    if (typeof BroadcastChannel !== 'undefined') {
      this.#channel = new BroadcastChannel(`selvedge:${user}`);
      this.#channel.onmessage = ({ data }) => changed(Number(data));
    }
  }

  /** Rejects where nothing can be stored. */
  static async open(user: string, changed: (revision: number) => void): Promise<StateStore> {
    const request = indexedDB.open(DATABASE, VERSION);
    request.onupgradeneeded = () => request.result.createObjectStore(STATES).createIndex('written', 'written');
    const opened = done(request);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('IndexedDB does not open')), OPEN_PATIENCE);
    });
    try {
      return new StateStore(await Promise.race([opened, late]), user, changed);
    } catch (error) {
      // Nobody needs it any more when it opens after all.
      opened.then((database) => database.close(), () => undefined);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async read(): Promise<Stored | undefined> {
    const states = this.#database.transaction(STATES).objectStore(STATES);
    return sound(await done<unknown>(states.get(this.#user)));
  }

  /** Replaces the stored state by what `apply` makes of it; resolves when it is on the device. */
  async update(apply: (stored: Stored | undefined) => Omit<Stored, 'revision' | 'written'>): Promise<Stored> {
    const transaction = this.#database.transaction(STATES, 'readwrite');
    const states = transaction.objectStore(STATES);
    let next: Stored | undefined;
    const finished = new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error('the transaction was aborted'));
      transaction.onerror = () => reject(transaction.error ?? new Error('the transaction failed'));
    });
    const read = states.get(this.#user) as IDBRequest<unknown>;
    read.onsuccess = () => {
      try {
        const stored = sound(read.result);
        next = { ...apply(stored), revision: (stored?.revision ?? 0) + 1, written: Date.now() };
        states.put(next, this.#user);
        this.#forgetOldest(states);
      } catch {
        transaction.abort();
      }
    };
    await finished;
    this.#channel?.postMessage((next as Stored).revision);
    return next as Stored;
  }

  #forgetOldest(states: IDBObjectStore): void {
    const counted = states.count();
    counted.onsuccess = () => {
      let surplus = counted.result - MAX_USERS;
      if (surplus <= 0) return;
      const cursor = states.index('written').openCursor();
      cursor.onsuccess = () => {
        if (!cursor.result || surplus-- <= 0) return;
        cursor.result.delete();
        cursor.result.continue();
      };
    };
  }

  async clear(): Promise<void> {
    await done(this.#database.transaction(STATES, 'readwrite').objectStore(STATES).delete(this.#user));
    this.#channel?.postMessage(-1);
  }

  close(): void {
    this.#channel?.close();
    this.#database.close();
  }
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('IndexedDB failed'));
  });
}

/** Whoever else writes to this origin may have written there. */
function sound(value: unknown): Stored | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { state, revision, device, written } = value as Partial<Stored>;
  const isSound =
    state instanceof Uint8Array &&
    state.length <= MAX_STATE_BYTES &&
    Number.isSafeInteger(revision) &&
    typeof device === 'bigint' &&
    typeof written === 'number';
  return isSound ? { state, revision: revision as number, device: BigInt.asUintN(64, device), written } : undefined;
}
