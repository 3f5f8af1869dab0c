/**
 * Sealing and opening one control event, native and noble, with bodies of 512 bytes and 4 KiB, beside
 * the bare ML-DSA-87 operations that they cannot do without: the ratio says what the protocol adds.
 * Opening is structure, signature, decryption, digest and canonical body, as a receiver does it.
 */
import { openFrame, parseFrame, verifyFrame } from '#shared/crypto/envelope.ts';
import { utf8 } from '#shared/crypto/bytes.ts';
import { invariant } from '#shared/crypto/errors.ts';
import type { SigningKey, VerifyKey } from '#shared/crypto/key-handle.ts';
import { StaticKeyring } from '#shared/crypto/keyring.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { SenderChain, type EventInput } from '#shared/crypto/sender-chain.ts';
import { measureInTurn, type MeasureOptions, type Summary } from './measure.ts';
import { ratioNote, type Row } from './report.ts';

const channel = 'operators';
const statementBytes = 207;
/** A map with one binary field: what is left of the body for the field's bytes. */
const bodyOverheadBytes = 9;
const hashSizes = [512, 4096] as const;

export async function sealingRows(runs: number): Promise<Row[]> {
  const providers: readonly [CryptoProvider, MeasureOptions][] = [
    [createNativeProvider(), { runs, warmupRuns: 50, budgetMs: 20_000 }],
    [createNobleProvider(), { runs: Math.min(runs, 100), warmupRuns: 5, budgetMs: 20_000 }],
  ];
  const rows: Row[] = [];
  for (const [provider, options] of providers) {
    rows.push(...(await providerRows(provider, options)), ...(await hashRows(provider)));
  }
  return rows;
}

async function providerRows(crypto: CryptoProvider, options: MeasureOptions): Promise<Row[]> {
  const group = `events, ${crypto.name}`;
  const signingKey = crypto.importSigningSeed(crypto.randomBytes(32));
  const key = crypto.importVerifyKey(signingKey.publicKey.raw);
  const message = crypto.randomBytes(statementBytes);
  const context = utf8('gyre/v1/plan-approved');
  const signature = crypto.sign(signingKey, { message, context });
  const sender = { crypto, signingKey, key, secret: crypto.randomBytes(32) };
  const [small, large] = [eventCalls(sender, 512), eventCalls(sender, 4096)];
  const measured = await measureInTurn(
    {
      sign: () => crypto.sign(signingKey, { message, context }),
      sealSmall: small.seal,
      sealLarge: large.seal,
      verify: () => crypto.verify(key, { message, context, signature }),
      openSmall: small.open,
      openLarge: large.open,
    },
    options,
  );
  const { sign, verify, sealSmall, sealLarge, openSmall, openLarge } = measured;
  const row = (name: string, summary: Summary, note?: string): Row => ({
    group,
    name,
    summary,
    ...(note === undefined ? {} : { note }),
  });
  return [
    row('ML-DSA-87 sign, bare', sign, '207-byte statement'),
    row('seal, 512 B body', sealSmall, ratioNote(sealSmall, sign, 'sign')),
    row('seal, 4 KiB body', sealLarge, ratioNote(sealLarge, sign, 'sign')),
    row('ML-DSA-87 verify, bare', verify),
    row('open, 512 B body', openSmall, ratioNote(openSmall, verify, 'verify')),
    row('open, 4 KiB body', openLarge, ratioNote(openLarge, verify, 'verify')),
  ];
}

interface Sender {
  readonly crypto: CryptoProvider;
  readonly signingKey: SigningKey;
  readonly key: VerifyKey;
  /** Of the channel. */
  readonly secret: Uint8Array;
}

function eventCalls({ crypto, signingKey, key, secret }: Sender, bodyBytes: number) {
  const keyring = new StaticKeyring([{ channel, epoch: 1, secret }]);
  const chain = new SenderChain({ crypto, sender: 'op-2', signingKey, keyring });
  const event = eventOf(crypto, bodyBytes);
  const seal = (): Uint8Array => {
    const pending = chain.seal(event);
    pending.accepted();
    return pending.frame;
  };
  const frame = seal();
  const open = (): void => {
    const parsed = parseFrame(frame);
    invariant(parsed.ok && verifyFrame(crypto, parsed.frame, key).ok, 'our own seal verifies');
    invariant(openFrame(crypto, parsed.frame, secret).ok, 'our own event opens');
  };
  return { seal, open };
}

/** The two hashes between which ADR 0002 decides. */
async function hashRows(crypto: CryptoProvider): Promise<Row[]> {
  const group = `hashes, ${crypto.name === 'native' ? 'native (BLAKE3: WebAssembly)' : 'noble'}`;
  const options = { runs: 500, warmupRuns: 200, callsPerRun: 10, budgetMs: 2_000 };
  const rows: Row[] = [];
  for (const bytes of hashSizes) {
    const message = crypto.randomBytes(bytes);
    const { sha3, blake3 } = await measureInTurn(
      { sha3: () => crypto.sha3_512(message), blake3: () => crypto.blake3(message) },
      options,
    );
    rows.push({ group, name: `SHA3-512, ${bytes} B`, summary: sha3 });
    rows.push({ group, name: `BLAKE3, ${bytes} B`, summary: blake3 });
  }
  return rows;
}

function eventOf(crypto: CryptoProvider, bodyBytes: number): EventInput {
  const timeMs = Date.now();
  return {
    lane: 'control',
    audience: channel,
    subject: 'gyre.v1.bench.request.op-2',
    channel,
    registryVersion: 1,
    registryDigest: crypto.randomBytes(32),
    policyVersion: 1,
    policyDigest: crypto.randomBytes(32),
    type: 'plan-approved',
    schemaVersion: 1,
    timeMs,
    expiresMs: timeMs + 60_000,
    eventId: 'bench',
    body: { data: crypto.randomBytes(bodyBytes - bodyOverheadBytes) },
  };
}
