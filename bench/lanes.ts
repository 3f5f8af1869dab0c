/**
 * What an event costs in processor time, from plain bytes to verified plain bytes: sealed on its own,
 * sealed in a batch, the same batch under a classical suite, and as JWS (ML-DSA-87) inside JWE by
 * `jose`. All in one run, in turn, so that their ratios hold on a busy machine. Processor time is that
 * of the whole process, its thread pool included. Replay is wall-clock time, with every signature.
 */
import { CompactEncrypt, compactDecrypt, CompactSign, compactVerify, generateKeyPair } from 'jose';
import { openBatch, parseBatch, sealBatchAsync, verifyBatchAsync } from '#shared/crypto/batch.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { openFrame, parseFrame, seal, verifyFrameAsync } from '#shared/crypto/envelope.ts';
import { invariant } from '#shared/crypto/errors.ts';
import type { SigningKey, VerifyKey } from '#shared/crypto/key-handle.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { batchEventsMax, bodyBytesMax, protocolVersion, suiteId } from '#schemas/frame.ts';
import type { Header } from '#schemas/frame.ts';
import { classicalSuite, postQuantumSuite, type Suite } from './classical-suite.ts';
import { summarise, type Summary } from './measure.ts';
import type { Row } from './report.ts';

export const payloadSizes = [512, 4096] as const;

/** Events made and taken in one sample. */
const singleEvents = 32;
const batchesPerSample = 8;
const rounds = { warmup: 2, budgetMs: 45_000 };

export interface Lane {
  readonly name: string;
  /** Events of one sample. */
  readonly events: number;
  produce(): Promise<Uint8Array[]>;
  consume(messages: readonly Uint8Array[]): Promise<void>;
}

export async function laneRows(runs: number): Promise<Row[]> {
  const native = createNativeProvider();
  const rows: Row[] = [];
  for (const bytes of payloadSizes) {
    const lanes = {
      control: controlLane(postQuantumSuite(native), bytes),
      bulk: bulkLane(postQuantumSuite(native), bytes),
      classical: bulkLane(classicalSuite(native), bytes),
      jose: await joseLane(bytes),
    };
    const group = `processor time of one event of ${bytes} B, made and taken`;
    const samples = await processorTimes(Object.values(lanes), runs);
    const [control, bulk, classical, jose] = samples;
    if (!control || !bulk || !classical || !jose) throw new Error('assertion: four summaries');
    const against = (summary: Summary, other: Summary, name: string): string =>
      `${(other.medianMs / summary.medianMs).toFixed(other.medianMs > 3 * summary.medianMs ? 0 : 2)} × less than ${name}`;
    rows.push(
      { group, name: lanes.jose.name, summary: jose },
      { group, name: lanes.control.name, summary: control, note: against(control, jose, 'jose') },
      { group, name: lanes.classical.name, summary: classical },
      {
        group,
        name: lanes.bulk.name,
        summary: bulk,
        note: `${against(bulk, jose, 'jose')} (aim 20); ${overhead(bulk, classical)} (aim under 10 %)`,
      },
      ...(await replayRows(lanes, { bytes, runs })),
    );
  }
  return rows;
}

function overhead(one: Summary, other: Summary): string {
  const percent = (one.medianMs / other.medianMs - 1) * 100;
  return `${percent >= 0 ? '+' : ''}${percent.toFixed(1)} % against classical`;
}

/** Milliseconds of processor time per event, one sample of every lane per round. */
async function processorTimes(lanes: readonly Lane[], runs: number): Promise<Summary[]> {
  const samples = lanes.map((): number[] => []);
  const deadlineMs = performance.now() + rounds.budgetMs;
  for (let round = -rounds.warmup; round < runs; round += 1) {
    if (round > 0 && performance.now() > deadlineMs) break;
    for (const [index, lane] of lanes.entries()) {
      const before = process.cpuUsage();
      await lane.consume(await lane.produce());
      const { user, system } = process.cpuUsage(before);
      if (round >= 0) samples[index]?.push((user + system) / 1000 / lane.events);
    }
  }
  return samples.map((each) => summarise(each));
}

/** Wall-clock time per event of taking in what was made before, both lanes and bare verification. */
async function replayRows(
  { control, bulk }: { readonly control: Lane; readonly bulk: Lane },
  { bytes, runs }: { readonly bytes: number; readonly runs: number },
): Promise<Row[]> {
  const group = `replay with every signature, events of ${bytes} B`;
  const [events, batches] = [await control.produce(), await bulk.produce()];
  const bare = bareVerification();
  const [bareTimes, controlTimes, bulkTimes]: [number[], number[], number[]] = [[], [], []];
  const timed = async (run: () => Promise<void>, count: number): Promise<number> => {
    const startMs = performance.now();
    await run();
    return (performance.now() - startMs) / count;
  };
  for (let round = 0; round < Math.min(runs, 60); round += 1) {
    bareTimes.push(await timed(() => bare(singleEvents), singleEvents));
    controlTimes.push(await timed(() => control.consume(events), control.events));
    bulkTimes.push(await timed(() => bulk.consume(batches), bulk.events));
  }
  const [bareTime, controlTime, bulkTime] = [bareTimes, controlTimes, bulkTimes].map((each) =>
    summarise(each),
  );
  if (!bareTime || !controlTime || !bulkTime) throw new Error('assertion: three summaries');
  const rate = ({ medianMs }: Summary): string => `${Math.round(1000 / medianMs)} per second`;
  const share = Math.round((bareTime.medianMs / controlTime.medianMs) * 100);
  return [
    { group, name: 'ML-DSA-87 verify, bare', summary: bareTime, note: rate(bareTime) },
    {
      group,
      name: 'control events',
      summary: controlTime,
      note: `${rate(controlTime)}, ${share} % of bare (aim 70 %)`,
    },
    { group, name: 'bulk events', summary: bulkTime, note: `${rate(bulkTime)} (aim 100,000)` },
  ];
}

function bareVerification(): (count: number) => Promise<void> {
  const crypto = createNativeProvider();
  const signingKey = crypto.importSigningSeed(crypto.randomBytes(32));
  const key = crypto.importVerifyKey(signingKey.publicKey.raw);
  const message = crypto.randomBytes(207);
  const context = encodeCanonical('bench');
  const signature = crypto.sign(signingKey, { message, context });
  return async (count) => {
    const checks = Array.from({ length: count }, () =>
      crypto.verifyAsync(key, { message, context, signature }),
    );
    invariant((await Promise.all(checks)).every(Boolean), 'our own signature verifies');
  };
}

function controlLane(suite: Suite, bytes: number): Lane {
  const { crypto, signingKey, key, secret } = partiesOf(suite);
  const body = { data: crypto.randomBytes(bytes - 9) };
  let counter = 0;
  return {
    name: 'control lane, one by one',
    events: singleEvents,
    produce: () =>
      Promise.resolve(
        Array.from({ length: singleEvents }, () => {
          counter += 1;
          const header = headerOf({ lane: 'control', counter, key, crypto });
          return seal(crypto, { header, body, signingKey, channelSecret: secret }).frame;
        }),
      ),
    consume: async (messages) => {
      await Promise.all(
        messages.map(async (message) => {
          const parsed = parseFrame(message);
          invariant(parsed.ok, 'our own frame parses');
          const verified = await verifyFrameAsync(crypto, parsed.frame, key);
          invariant(verified.ok, 'our own seal verifies');
          invariant(openFrame(crypto, parsed.frame, secret).ok, 'our own event opens');
        }),
      );
    },
  };
}

/** Batches as large as they may be; every sample begins with a key exchange, as an epoch does. */
export function bulkLane(suite: Suite, bytes: number): Lane {
  const { crypto, signingKey, key, secret } = partiesOf(suite);
  const event = encodeCanonical({ data: crypto.randomBytes(bytes - 9) });
  const perBatch = Math.min(batchEventsMax, Math.floor(bodyBytesMax / (event.length + 3)));
  const events = Array.from({ length: perBatch }, () => event);
  let counter = 0;
  return {
    name: `bulk lane, ${suite.name}, batches of ${perBatch}`,
    events: perBatch * batchesPerSample,
    produce: () => {
      suite.exchange();
      return Promise.all(
        Array.from({ length: batchesPerSample }, async () => {
          counter += 1;
          const header = headerOf({ lane: 'bulk', counter, key, crypto });
          const input = { header, events, signingKey, channelSecret: secret };
          return (await sealBatchAsync(crypto, input)).frame;
        }),
      );
    },
    consume: async (messages) => {
      await Promise.all(
        messages.map(async (message) => {
          const parsed = parseBatch(message);
          invariant(parsed.ok, 'our own batch parses');
          const verified = await verifyBatchAsync(crypto, parsed.batch, key);
          invariant(verified.ok, 'our own batch verifies');
          invariant(openBatch(crypto, parsed.batch, secret).ok, 'our own batch opens');
        }),
      );
    },
  };
}

/** Each event signed, then encrypted under a key that both sides hold: the least that JOSE can do. */
async function joseLane(bytes: number): Promise<Lane> {
  const { publicKey, privateKey } = await generateKeyPair('ML-DSA-87', { extractable: false });
  const secret = createNativeProvider().randomBytes(32);
  const payload = createNativeProvider().randomBytes(bytes);
  return {
    name: 'jose, JWS (ML-DSA-87) in JWE (dir, A256GCM)',
    events: singleEvents,
    produce: () =>
      Promise.all(
        Array.from({ length: singleEvents }, async () => {
          const header = { alg: 'ML-DSA-87' };
          const jws = await new CompactSign(payload).setProtectedHeader(header).sign(privateKey);
          const jwe = await new CompactEncrypt(new TextEncoder().encode(jws))
            .setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
            .encrypt(secret);
          return new TextEncoder().encode(jwe);
        }),
      ),
    consume: async (messages) => {
      await Promise.all(
        messages.map(async (message) => {
          const { plaintext } = await compactDecrypt(message, secret);
          const { payload: received } = await compactVerify(plaintext, publicKey);
          invariant(received.length === bytes, 'our own token verifies');
        }),
      );
    },
  };
}

function partiesOf(suite: Suite) {
  const { crypto } = suite;
  const signingKey: SigningKey = crypto.importSigningSeed(crypto.randomBytes(32));
  const key: VerifyKey = signingKey.publicKey;
  return { crypto, signingKey, key: crypto.importVerifyKey(key.raw), secret: suite.exchange() };
}

function headerOf({
  lane,
  counter,
  key,
  crypto,
}: {
  readonly lane: 'control' | 'bulk';
  readonly counter: number;
  readonly key: VerifyKey;
  readonly crypto: Suite['crypto'];
}): Header {
  const timeMs = Date.now();
  return {
    version: protocolVersion,
    suite: suiteId,
    lane,
    sender: 'network-a',
    senderKeyId: key.keyId,
    audience: 'telemetry',
    subject: 'gyre.v1.bench.telemetry.3.network-a',
    channel: 'telemetry',
    epoch: 1,
    incarnation: crypto.randomBytes(32),
    counter,
    previous: new Uint8Array(32),
    registryVersion: 1,
    registryDigest: new Uint8Array(32),
    policyVersion: 1,
    policyDigest: new Uint8Array(32),
    type: 'telemetry-batch',
    schemaVersion: 1,
    timeMs,
    expiresMs: timeMs + 60_000,
    eventId: 'bench',
  };
}
