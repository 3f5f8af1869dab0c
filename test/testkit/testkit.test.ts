/**
 * Every case of the testkit, from its file, through every path and both providers; that there is a
 * case for every reason of refusal; that the files are what the generator writes; and that a decoder
 * in another language, written from docs/protocol.md, reads all of them as they should be read.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openBatch, parseBatch, verifyBatch, verifyProof } from '#shared/crypto/batch.ts';
import { decodeCanonical, encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { openFrame, parseFrame, verifyDisclosure, verifyFrame } from '#shared/crypto/envelope.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { envelopeRefusals } from '#shared/crypto/statement.ts';
import { refusalsByKind, type CaseKind } from './case.ts';
import { testkitFiles, textOf } from './files.ts';

const folder = import.meta.dirname;

interface CaseFile {
  readonly name: string;
  readonly kind: CaseKind;
  readonly open: string;
  readonly verify: string;
  readonly encode: 'same' | 'refused';
  readonly channelSecret?: string;
  readonly bytes?: string;
  readonly zeros?: number;
  readonly reads?: Readonly<Record<string, unknown>>;
}

interface Keys {
  readonly sender: { readonly publicKey: string };
  readonly channelSecret: string;
}

const read = (name: string): unknown => JSON.parse(readFileSync(join(folder, name), 'utf8'));
const keys = read('keys.json') as Keys;
const cases = readdirSync(join(folder, 'cases')).map((name) => read(`cases/${name}`) as CaseFile);

const bytesOf = ({ bytes, zeros }: CaseFile) =>
  bytes === undefined ? new Uint8Array(zeros ?? 0) : new Uint8Array(Buffer.from(bytes, 'base64'));

type Result = { readonly ok: true } | { readonly ok: false; readonly code: string };
const codeOf = (result: Result) => (result.ok ? 'ok' : result.code);

/** What the path says that needs no secret. */
function verified(crypto: CryptoProvider, file: CaseFile): Result {
  const key = crypto.importVerifyKey(Buffer.from(keys.sender.publicKey, 'base64'));
  const bytes = bytesOf(file);
  if (file.kind === 'event') {
    const parsed = parseFrame(bytes);
    return parsed.ok ? verifyFrame(crypto, parsed.frame, key) : parsed;
  }
  if (file.kind === 'batch') {
    const parsed = parseBatch(bytes);
    return parsed.ok ? verifyBatch(crypto, parsed.batch, key) : parsed;
  }
  const decoded = decodeCanonical(bytes);
  const value = decoded.ok ? decoded.value : undefined;
  return file.kind === 'proof'
    ? verifyProof(crypto, value, key)
    : verifyDisclosure(crypto, value, key);
}

/** What all steps together say. */
function opened(crypto: CryptoProvider, file: CaseFile): Result {
  const result = verified(crypto, file);
  if (!result.ok || file.kind === 'proof' || file.kind === 'disclosure') return result;
  const secret = Buffer.from(file.channelSecret ?? keys.channelSecret, 'hex');
  if (file.kind === 'event') {
    const parsed = parseFrame(bytesOf(file));
    return parsed.ok ? openFrame(crypto, parsed.frame, secret) : parsed;
  }
  const parsed = parseBatch(bytesOf(file));
  return parsed.ok ? openBatch(crypto, parsed.batch, secret) : parsed;
}

function encodedAgain(file: CaseFile): 'same' | 'refused' {
  const bytes = bytesOf(file);
  const decoded = decodeCanonical(bytes);
  if (!decoded.ok) return 'refused';
  expect(Buffer.from(encodeCanonical(decoded.value)).equals(bytes)).toBe(true);
  return 'same';
}

describe.each([createNativeProvider(), createNobleProvider()])('by $name', (crypto) => {
  test.each(cases)('$name: $open', (file) => {
    expect(codeOf(verified(crypto, file)), 'verify').toBe(file.verify);
    expect(codeOf(opened(crypto, file)), 'open').toBe(file.open);
    expect(encodedAgain(file), 'encode').toBe(file.encode);
  });
});

describe('the set of cases', () => {
  test('has one for every reason of refusal, of every kind of thing', () => {
    for (const [kind, codes] of Object.entries(refusalsByKind)) {
      const met = new Set(cases.filter((each) => each.kind === kind).map(({ open }) => open));
      expect([...met].toSorted(), kind).toEqual(['ok', ...codes].toSorted());
    }
  });

  test('knows every code that the envelope can answer with', () => {
    const known = new Set(Object.values(refusalsByKind).flat());
    expect([...known].toSorted()).toEqual([...envelopeRefusals].toSorted());
  });

  test('is what the generator writes', () => {
    const files = testkitFiles();
    const names = readdirSync(join(folder, 'cases')).map((name) => `cases/${name}`);
    expect([...files.keys()].toSorted()).toEqual(['keys.json', ...names].toSorted());
    for (const [name, content] of files) {
      expect(readFileSync(join(folder, name), 'utf8') === textOf(content), name).toBe(true);
    }
  });
});

interface Reading {
  readonly name: string;
  readonly result: string;
  readonly reads?: Readonly<Record<string, unknown>>;
}

/** What the decoder cannot compute: its standard library has neither ML-DSA nor BLAKE3. */
const beyondPython: ReadonlySet<string> = new Set([
  'event-other-signer',
  'event-other-context',
  'event-batch-label',
  'event-other-digest',
  'batch-other-signer',
  'batch-event-label',
  'disclosure-other-body',
  'disclosure-other-salt',
  'proof-other-path',
  'proof-other-event',
  'proof-other-place',
  'proof-other-count',
]);

const python = ['python3', 'python'].find(
  (name) => spawnSync(name, ['-c', 'import sys; sys.exit(sys.version_info < (3, 9))']).status === 0,
);
if (python === undefined) {
  process.stderr.write('\n*** NOT TESTED: test/testkit/decode.py, for want of Python 3.9. ***\n\n');
}

describe.runIf(python !== undefined)('the decoder in Python', () => {
  test('reads every case as it should be read', () => {
    const run = spawnSync(python ?? '', ['-I', join(folder, 'decode.py')], { maxBuffer: 2 ** 26 });
    expect(run.stderr.toString()).toBe('');
    const readings = JSON.parse(run.stdout.toString()) as Reading[];
    expect(readings.map(({ name }) => name).toSorted()).toEqual(
      cases.map(({ name }) => name).toSorted(),
    );
    for (const file of cases) {
      const reading = readings.find(({ name }) => name === file.name);
      const expected = beyondPython.has(file.name) ? 'ok' : file.open;
      expect(reading?.result, file.name).toBe(expected);
      if (file.reads === undefined) continue;
      const { statementHash: _name, ...computable } = file.reads;
      expect(reading?.reads, file.name).toMatchObject(computable);
    }
  });
});
