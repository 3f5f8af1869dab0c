/**
 * One event of telemetry out of the mesh: an orchestrator shows it, this writes it to a file together
 * with the documents of the mesh, and whoever has the file and the digest of the root checks it with
 * no mesh, no bus and no secret.
 */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { StrictObject, Type, Base64Url, compile } from '#schemas/primitives.ts';
import type { TelemetryEvent } from '#schemas/telemetry.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { verifyTelemetryProof } from '#shared/crypto/batch-evidence.ts';
import { fromBase64Url, toBase64Url } from '#shared/crypto/bytes.ts';
import { decodeCanonical, encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { openTrust } from '#shared/crypto/trust.ts';
import { exportFault } from '../audit/actions.ts';
import { checks } from '../answers.ts';
import { CliFault, fileFault } from '../fault.ts';
import { systemErrorCode } from '../mesh/durable-files.ts';
import type { OperatorSession } from '../operator-session.ts';

export interface Proven {
  readonly agentId: string;
  readonly layer: number;
  readonly atMs: number;
  readonly batch: string;
  readonly index: number;
  readonly count: number;
  readonly event: TelemetryEvent;
}

export interface WrittenProof extends Proven {
  readonly file: string;
  readonly rootDigest: string;
}

/** The largest file that is read: a bundle of documents and one proof. */
const fileBytesMax = 16 * 1024 * 1024;
const format = 'gyre-telemetry-proof/1';

const fileCheck = compile(
  StrictObject({
    format: Type.Literal(format),
    bundle: Type.Unknown(),
    /** Canonical MessagePack of a `BatchProof`. */
    proof: Base64Url(32 * 1024),
  }),
);

/** Asks for the proof, checks it, and writes it. */
export async function writeProof(
  session: OperatorSession,
  file: string,
  query: {
    readonly agentId: string;
    readonly event?: { readonly batch: string; readonly index: number };
  },
): Promise<WrittenProof> {
  const proof = await session.askOrchestrator(
    { ask: 'telemetry-prove', ...query },
    checks.batchProof,
  );
  const { trust, crypto } = session;
  const proven = provenBy(crypto, trust, proof);
  const content = {
    format,
    bundle: trust.bundle,
    proof: toBase64Url(encodeCanonical(proof)),
  };
  const target = resolve(file);
  try {
    await writeFile(target, `${JSON.stringify(content, null, 1)}\n`);
  } catch (error) {
    throw exportFault(error, target);
  }
  return { file: target, rootDigest: trust.rootDigest, ...proven };
}

/** Checks a file that `writeProof` wrote, or anyone else. */
export async function verifyProofFile(file: string, rootDigest: string): Promise<Proven> {
  const content = await readProofFile(file);
  const crypto = createNativeProvider();
  const opened = openTrust(crypto, { bundle: content.bundle, rootDigest });
  if (opened.status !== 'ok') {
    throw new CliFault({
      code: opened.code,
      reason: `the documents in the file are refused: ${opened.reason}`,
      hint: 'Compare --root with the root digest that gyre status prints.',
    });
  }
  return provenBy(crypto, opened.trust, content.proof);
}

function provenBy(
  crypto: Parameters<typeof verifyTelemetryProof>[0],
  trust: Parameters<typeof verifyTelemetryProof>[1],
  proof: unknown,
): Proven {
  const subjects = subjectsOf(trust.mesh);
  const addressOf = (subject: string) => subjects.parse(subject);
  const verdict = verifyTelemetryProof(crypto, trust, { proof, addressOf });
  if (verdict.status === 'refused') {
    throw new CliFault({
      code: verdict.code,
      reason: 'the proof does not hold',
      hint: 'Do not rely on it; gyre telemetry prove writes another.',
    });
  }
  const { header, layer, batch, index, count, event } = verdict.proven;
  return { agentId: header.sender, layer, atMs: header.timeMs, batch, index, count, event };
}

async function readProofFile(file: string): Promise<{ bundle: unknown; proof: unknown }> {
  const malformed = (cause?: unknown) =>
    new CliFault({
      code: 'FILE_MALFORMED',
      reason: `${file} is not a proof of telemetry`,
      hint: 'Name a file that gyre telemetry prove wrote.',
      ...(cause === undefined ? {} : { cause }),
    });
  let text: string;
  try {
    if ((await stat(file)).size > fileBytesMax) throw malformed();
    text = await readFile(file, 'utf8');
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === undefined) throw error;
    throw fileFault(file, code, error);
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw malformed(error);
  }
  if (!fileCheck.check(parsed)) throw malformed();
  const bytes = fromBase64Url(parsed.proof);
  const decoded = bytes === undefined ? undefined : decodeCanonical(bytes);
  if (decoded?.ok !== true) throw malformed();
  return { bundle: parsed.bundle, proof: decoded.value };
}
