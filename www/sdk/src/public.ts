export { ENGINE_CODES, type EngineCode, type ErrorCode, SelvedgeError } from './errors.js';
export type {
  Candidate,
  Context,
  Decision,
  Events,
  FallbackReason,
  LoadOptions,
  ModuleSource,
  RankedItem,
  RankOptions,
  Rule,
  Selvedge,
  Status,
  UserEvent,
  Value,
} from './types.js';
