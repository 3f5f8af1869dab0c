/**
 * What an agent keeps of trust beside the genesis bundle: the documents that it adopted since, in that
 * order, and whom it locked out. One file, written before what is in it counts and verified again at
 * every start: a copy that is damaged or altered is refused (ORCH-8010, ORCH-8011), never patched up.
 */

import {
  AgentId,
  DigestHex,
  List,
  OneOf,
  StrictObject,
  TimeMs,
  compile,
  type Static,
} from '#schemas/primitives.ts';
import { Type } from 'typebox';
import { orchCodes } from '#schemas/errors.ts';
import { OfferedDocument } from '#schemas/trust.ts';
import { lockoutsMax, type Lockout } from '#shared/core/lockout.ts';
import { toHex, utf8 } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { Disk } from './disk.ts';

export const documentsMax = 8192;
/** Bytes of the whole file, at the most: 256 MiB. */
const fileBytesMax = 256 * 1024 * 1024;
/** Left for the lockouts, and for what JSON adds to a document. */
const reservedBytes = 1024 * 1024;

const StoredLockout = StrictObject({
  sender: AgentId(),
  code: OneOf(orchCodes),
  untilMs: TimeMs(),
});

const TrustState = StrictObject({
  kind: Type.Literal('trust_state'),
  /** Of the genesis root: a state of another mesh is none. */
  rootDigest: DigestHex(),
  documents: List(StrictObject({ adoptedAtMs: TimeMs(), document: OfferedDocument }), {
    itemsMax: documentsMax,
  }),
  lockouts: List(StoredLockout, { itemsMax: lockoutsMax }),
});
type TrustState = Static<typeof TrustState>;

const fileCheck = compile(StrictObject({ state: TrustState, digest: DigestHex() }));

export type TrustStateCode = 'ORCH-8010' | 'ORCH-8011';

/** A stored copy that is not what the agent wrote, or does not hold. */
export class TrustStateError extends Error {
  readonly code: TrustStateCode;
  readonly file: string;

  constructor(code: TrustStateCode, file: string, reason: string) {
    super(`${file}: ${reason}`);
    this.name = 'TrustStateError';
    this.code = code;
    this.file = file;
  }
}

export interface TrustStoreOptions {
  /** The state is its file `trust.json`. */
  readonly disk: Disk;
  readonly crypto: CryptoProvider;
  /** At genesis; what is stored is adopted into it. */
  readonly trust: TrustView;
  /** Documents that are kept at the most; what the file can hold unless told. */
  readonly documentsMax?: number;
}

const name = 'trust.json';

export class TrustStore {
  /** Where the state lies, for people. */
  readonly file: string;
  readonly #disk: Disk;
  readonly #crypto: CryptoProvider;
  readonly #documentsMax: number;
  #state: TrustState;
  /** Of the file as it lies there. */
  #bytes: number;

  private constructor(
    { disk, crypto, documentsMax: limit = documentsMax }: TrustStoreOptions,
    state: TrustState,
    bytes: number,
  ) {
    this.file = disk.place(name);
    this.#disk = disk;
    this.#crypto = crypto;
    this.#documentsMax = limit;
    this.#state = state;
    this.#bytes = bytes;
  }

  /** Reads what is there and adopts it. @throws TrustStateError */
  static open(options: TrustStoreOptions): TrustStore {
    const { disk, crypto, trust } = options;
    const file = disk.place(name);
    const content = disk.readFile(name);
    const { rootDigest } = trust;
    if (content === undefined) {
      const empty = { kind: 'trust_state', rootDigest, documents: [], lockouts: [] } as const;
      return new TrustStore(options, { ...empty, documents: [], lockouts: [] }, 0);
    }
    const state = readState(crypto, file, content);
    if (state.rootDigest !== rootDigest) {
      throw new TrustStateError('ORCH-8010', file, 'it belongs to another root');
    }
    for (const { document, adoptedAtMs } of state.documents) {
      const adoption = trust.adopt(document, adoptedAtMs, { takesExpired: true });
      if (adoption.status !== 'refused') continue;
      const code = adoption.code === 'ORCH-8011' ? 'ORCH-8011' : 'ORCH-8010';
      const reason = `a stored ${document.body.kind} is refused (${adoption.refusal})`;
      throw new TrustStateError(code, file, `${reason}: ${adoption.reason}`);
    }
    return new TrustStore(options, state, content.length);
  }

  get lockouts(): readonly Lockout[] {
    return this.#state.lockouts;
  }

  /** Documents in the order in which they were adopted. */
  get documents(): readonly OfferedDocument[] {
    return this.#state.documents.map(({ document }) => document);
  }

  /**
   * Whether one more document of so many bytes can be kept: no file is written that would be refused at
   * the next start. Only operators above their threshold can fill it.
   */
  hasRoomFor(documentBytes: number): boolean {
    const bytes = this.#bytes + documentBytes + reservedBytes;
    return this.#state.documents.length < this.#documentsMax && bytes <= fileBytesMax;
  }

  /** On the disk when it returns. Ask `hasRoomFor` before. */
  keepDocument(document: OfferedDocument, adoptedAtMs: number): void {
    if (this.#state.documents.length >= this.#documentsMax) {
      throw new Error('assertion: a document is kept where there is room for it');
    }
    const documents = [...this.#state.documents, { document, adoptedAtMs }];
    this.#write({ ...this.#state, documents });
  }

  /** On the disk when it returns. */
  keepLockouts(lockouts: readonly Lockout[]): void {
    this.#write({ ...this.#state, lockouts: [...lockouts] });
  }

  #write(state: TrustState): void {
    const text = JSON.stringify(state);
    const content = utf8(`{"state":${text},"digest":"${digestOfText(this.#crypto, text)}"}`);
    this.#disk.replaceFile(name, content);
    this.#bytes = content.length;
    this.#state = state;
  }
}

function readState(crypto: CryptoProvider, file: string, content: Uint8Array): TrustState {
  if (content.length > fileBytesMax) {
    throw new TrustStateError('ORCH-8010', file, 'it is larger than anything that was written');
  }
  const parsed = parse(Buffer.from(content).toString());
  if (!fileCheck.check(parsed)) throw new TrustStateError('ORCH-8010', file, 'it is damaged');
  if (digestOf(crypto, parsed.state) !== parsed.digest) {
    throw new TrustStateError('ORCH-8010', file, 'it was altered');
  }
  return parsed.state;
}

/** Of the text as it is written: a state outgrows what one document may have. */
export function digestOf(crypto: CryptoProvider, state: TrustState): string {
  return digestOfText(crypto, JSON.stringify(state));
}

function digestOfText(crypto: CryptoProvider, text: string): string {
  return toHex(crypto.sha3_256(utf8(text)));
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
