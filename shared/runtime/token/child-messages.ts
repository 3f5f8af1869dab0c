/**
 * What the signer and its token child say to each other over the fork's IPC channel, and the checks
 * that both sides make: exact fields, bounded sizes. The child's replies are distrusted like any
 * plugin's. One request is under way at a time; ids pair a reply with its request.
 */
import { pinBytesMax } from './pin.ts';
import type { TokenInfo } from './pkcs11-slot.ts';
import {
  contextBytesMax,
  isKeyName,
  isTokenLabel,
  messageBytesMax,
  publicKeyBytes,
  signatureBytes,
  tokenErrorCodes,
  tokenKeyIdBytes,
  wrapBytesMax,
  wrapPurposeBytesMax,
} from './token.ts';
import type { TokenErrorCode, TokenKey } from './token.ts';
import { wrapOverheadBytes } from './wrapping.ts';

interface TokenNames {
  libraryPath: string;
  label: string;
  pin: Uint8Array;
}

export type Operation =
  | ({ op: 'open'; directory: string } & TokenNames)
  | ({ op: 'open-keys' } & TokenNames)
  | ({ op: 'initialise'; soPin: Uint8Array; wrappingKey: boolean } & TokenNames)
  | ({ op: 'prepare' } & TokenNames)
  | { op: 'generate'; keyName: string }
  | { op: 'public-key'; keyName: string }
  | { op: 'sign'; keyName: string; message: Uint8Array; context: Uint8Array }
  | { op: 'wrap'; bytes: Uint8Array; purpose: Uint8Array }
  | { op: 'unwrap'; wrapped: Uint8Array; purpose: Uint8Array }
  | { op: 'make-key'; keyName: string }
  | { op: 'key-wrap'; key: TokenKey; bytes: Uint8Array; purpose: Uint8Array }
  | { op: 'key-unwrap'; key: TokenKey; wrapped: Uint8Array; purpose: Uint8Array }
  | { op: 'destroy-key'; keyName: string }
  | { op: 'close' };

export type Request = { id: number } & Operation;

export type Outcome =
  | { outcome: 'opened'; info: TokenInfo }
  | { outcome: 'provisioned'; changed: boolean }
  | { outcome: 'public-key'; publicKey: Uint8Array }
  | { outcome: 'signature'; signature: Uint8Array }
  | { outcome: 'wrapped'; wrapped: Uint8Array }
  | { outcome: 'unwrapped'; bytes: Uint8Array }
  | { outcome: 'key'; keyId: Uint8Array }
  | { outcome: 'destroyed' }
  | { outcome: 'closed' }
  | { outcome: 'failed'; code: TokenErrorCode; detail: string };

export type Reply = { id: number } & Outcome;

export const detailCharactersMax = 500;
const pathCharactersMax = 4096;

type Check = (value: unknown) => boolean;

const bytesUpTo =
  (bytesMax: number): Check =>
  (value) =>
    value instanceof Uint8Array && value.length <= bytesMax;
const bytesOf =
  (byteCount: number): Check =>
  (value) =>
    value instanceof Uint8Array && value.length === byteCount;
const textUpTo =
  (charactersMax: number): Check =>
  (value) =>
    typeof value === 'string' && value.length <= charactersMax;
const isFlag: Check = (value) => typeof value === 'boolean';
const isId: Check = (value) => Number.isSafeInteger(value) && Number(value) >= 0;
const isCode: Check = (value) => tokenErrorCodes.some((code) => code === value);

const names = {
  libraryPath: textUpTo(pathCharactersMax),
  label: isTokenLabel,
  pin: bytesUpTo(pinBytesMax),
};
const isTokenKey: Check = (value) =>
  hasExactly(value, { name: isKeyName, id: bytesOf(tokenKeyIdBytes) });
const purpose = bytesUpTo(wrapPurposeBytesMax);
const content = { bytes: bytesUpTo(wrapBytesMax), purpose };
const wrapping = { wrapped: bytesUpTo(wrapBytesMax + wrapOverheadBytes), purpose };
const infoFields = { manufacturer: textUpTo(32), model: textUpTo(32), hardware: isFlag };

const requestFields: Record<Operation['op'], Record<string, Check>> = {
  open: { ...names, directory: textUpTo(pathCharactersMax) },
  'open-keys': names,
  initialise: { ...names, soPin: bytesUpTo(pinBytesMax), wrappingKey: isFlag },
  prepare: names,
  generate: { keyName: isKeyName },
  'public-key': { keyName: textUpTo(64) },
  sign: {
    keyName: textUpTo(64),
    message: bytesUpTo(messageBytesMax),
    context: bytesUpTo(contextBytesMax),
  },
  wrap: content,
  unwrap: wrapping,
  'make-key': { keyName: isKeyName },
  'key-wrap': { key: isTokenKey, ...content },
  'key-unwrap': { key: isTokenKey, ...wrapping },
  'destroy-key': { keyName: isKeyName },
  close: {},
};

const replyFields: Record<Outcome['outcome'], Record<string, Check>> = {
  opened: { info: (value) => hasExactly(value, infoFields) },
  provisioned: { changed: isFlag },
  'public-key': { publicKey: bytesOf(publicKeyBytes) },
  signature: { signature: bytesOf(signatureBytes) },
  wrapped: { wrapped: bytesUpTo(wrapBytesMax + wrapOverheadBytes) },
  unwrapped: { bytes: bytesUpTo(wrapBytesMax) },
  key: { keyId: bytesOf(tokenKeyIdBytes) },
  destroyed: {},
  closed: {},
  failed: { code: isCode, detail: textUpTo(detailCharactersMax) },
};

export function isRequest(value: unknown): value is Request {
  return isTagged(value, 'op', requestFields);
}

export function isReply(value: unknown): value is Reply {
  return isTagged(value, 'outcome', replyFields);
}

function isTagged(
  value: unknown,
  tag: 'op' | 'outcome',
  table: Record<string, Record<string, Check>>,
): boolean {
  if (typeof value !== 'object' || value === null || !(tag in value)) return false;
  const kind: unknown = Reflect.get(value, tag);
  if (typeof kind !== 'string' || !Object.hasOwn(table, kind)) return false;
  return hasExactly(value, { id: isId, [tag]: () => true, ...table[kind] });
}

function hasExactly(value: unknown, checks: Record<string, Check>): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const entries = Object.entries(value);
  if (entries.length !== Object.keys(checks).length) return false;
  return entries.every(([field, content]) => {
    const check = Object.hasOwn(checks, field) ? checks[field] : undefined;
    return check !== undefined && check(content);
  });
}
