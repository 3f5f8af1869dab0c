/**
 * The speed of SLH-DSA-SHAKE-256s on this machine: more than a second of work, so it is measured once
 * and kept in the project's cache for as long as processor, Node and OpenSSL stay the same, a day at
 * the most. A cache only; it may be deleted.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { StrictObject, Text, TimeMs, Type, compile } from '#schemas/primitives.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { replaceFile, systemErrorCode } from './durable-files.ts';
import { timedMs } from './performance.ts';
import type { Performance } from './performance.ts';
import { projectRoot } from './tools.ts';

const cacheFile = join(projectRoot, '.cache', 'measurements', 'slh-dsa-shake-256s.json');
const keptMs = 24 * 3_600_000;
const input = { message: new Uint8Array(512), context: new Uint8Array(0) };
const Milliseconds = Type.Number({ minimum: 0, maximum: 60_000 });

const keptCheck = compile(
  StrictObject({
    machine: Text(300),
    measuredAtMs: TimeMs(),
    performance: StrictObject({
      keygen_ms: Milliseconds,
      sign_ms: Milliseconds,
      verify_ms: Milliseconds,
    }),
  }),
);

export async function slhDsaPerformance(provider: CryptoProvider): Promise<Performance> {
  const kept = await readKept();
  if (kept !== null) return kept;
  const performance = await measure(provider);
  await keep(performance);
  return performance;
}

async function measure(provider: CryptoProvider): Promise<Performance> {
  const keygen = await timedMs(() => provider.generateSlhDsaKey());
  const { secretKey, publicKey } = keygen.result;
  const key = provider.importSlhDsaSecret(secretKey);
  secretKey.fill(0);
  const signed = await timedMs(async () => await provider.signSlhDsaAsync(key, input));
  key.wipe();
  const signature = signed.result;
  const verified = await timedMs(() => provider.verifySlhDsa(publicKey, { ...input, signature }));
  return { keygen_ms: keygen.ms, sign_ms: signed.ms, verify_ms: verified.ms };
}

async function readKept(): Promise<Performance | null> {
  try {
    const kept: unknown = JSON.parse(await readFile(cacheFile, 'utf8'));
    if (!keptCheck.check(kept) || kept.machine !== machine()) return null;
    const ageMs = Date.now() - kept.measuredAtMs;
    return ageMs >= 0 && ageMs < keptMs ? kept.performance : null;
  } catch (error) {
    const code = systemErrorCode(error);
    // Another user's cache, which only that user may read, is none.
    const isNone = code === 'ENOENT' || code === 'EACCES' || code === 'EPERM';
    if (isNone || error instanceof SyntaxError) return null;
    throw error;
  }
}

async function keep(performance: Performance): Promise<void> {
  try {
    await mkdir(dirname(cacheFile), { recursive: true });
    const kept = { machine: machine(), measuredAtMs: Date.now(), performance };
    await replaceFile(cacheFile, `${JSON.stringify(kept)}\n`);
  } catch (error) {
    // An installation that nobody may write to measures anew each time.
    const code = systemErrorCode(error);
    if (code !== 'EACCES' && code !== 'EPERM' && code !== 'EROFS') throw error;
  }
}

function machine(): string {
  const { node, openssl } = process.versions;
  const [first, ...others] = cpus();
  return `${first?.model ?? 'unknown'}, ${others.length + 1} cores, Node ${node}, OpenSSL ${openssl}`;
}
