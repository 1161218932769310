/** Names of the engine's errors by number, from 1: the table in docs/format/README.md. */
export const ENGINE_CODES = [
  'truncated',
  'bad-magic',
  'unsupported-version',
  'wrong-kind',
  'checksum-mismatch',
  'too-large',
  'invalid',
  'missing-section',
  'unknown-section',
  'bad-metadata',
  'id-mismatch',
  'not-loaded',
] as const;

export type EngineCode = (typeof ENGINE_CODES)[number];

/** What the package itself can run into. */
export type PackageCode =
  /** An argument that no program should pass. */
  | 'invalid-argument'
  /** A candidate or context value of another type than the bundle declares. */
  | 'invalid-value'
  /** The bundle, the shared state or the module cannot be fetched, and no copy is cached. */
  | 'unavailable'
  /** The runtime refuses to compile or run the module. */
  | 'module-refused'
  /** The module broke off; the instance is not used again. */
  | 'trap'
  /** Nothing can be stored: private mode, storage denied, or the quota is used up. State lives in memory. */
  | 'storage-unavailable'
  /** The dedicated worker is gone. */
  | 'worker-lost';

export type ErrorCode = EngineCode | PackageCode;

/** An error with a stable {@link code}. */
export class SelvedgeError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'SelvedgeError';
    this.code = code;
  }
}

/** The error of a number that the engine returned. */
export function engineError(number: number, message: string): SelvedgeError {
  return new SelvedgeError(ENGINE_CODES[number - 1] ?? 'invalid', message);
}
