/**
 * The adapter of a layer whose keys are held by its service: each operation goes over the service's
 * control socket. A service that is down is a fault worth another try, not a failed step: it may be
 * starting anew.
 */

import { compile, type Static } from '#schemas/primitives.ts';
import type { Samples } from '#schemas/saga.ts';
import {
  serviceControls,
  type ServiceControl,
  type ServiceKeyVersion,
  type ServiceSettings,
} from '#schemas/service.ts';
import { fromBase64Url, toBase64Url } from '#shared/crypto/bytes.ts';
import {
  AdapterError,
  isAdapterErrorCode,
  type ActivationProof,
  type KeyVersion,
  type SlotInspection,
  type VerificationResult,
} from '../adapter.ts';
import type { UsageCount } from '../embedded/key-usage.ts';
import type { CertifiedSystem, IssuedCertificate } from './certificate-authority.ts';
import { controlPath } from './control-routes.ts';
import { ServiceError, type ServiceAnswer, type ServiceRequest } from './service-client.ts';

const answers = {
  describe: compile(serviceControls.describe.answer),
  inspect: compile(serviceControls.inspect.answer),
  version: compile(serviceControls.prepare.answer),
  activated: compile(serviceControls.activate.answer),
  verified: compile(serviceControls.verify.answer),
  done: compile(serviceControls.rollback.answer),
  uses: compile(serviceControls['uses-lately'].answer),
  samples: compile(serviceControls.samples.answer),
  counts: compile(serviceControls['take-counts'].answer),
  metrics: compile(serviceControls.measure.answer),
  request: compile(serviceControls['certificate-request'].answer),
};

/** What carries the operations: a service's control socket, or a program for each. */
export interface ControlChannel {
  /** @throws ServiceError */
  ask(request: ServiceRequest): Promise<ServiceAnswer>;
  close(): void;
}

type Description = Static<typeof serviceControls.describe.answer>;

export class RemoteAdapter implements CertifiedSystem {
  readonly name: string;
  readonly #client: ControlChannel;
  readonly #fingerprint: string;

  private constructor(client: ControlChannel, described: Description) {
    this.#client = client;
    this.name = described.name;
    this.#fingerprint = described.fingerprint;
  }

  /** @throws AdapterError SYSTEM_UNREACHABLE while the service is down */
  static async connect(client: ControlChannel): Promise<RemoteAdapter> {
    return new RemoteAdapter(client, await ask(client, 'describe', {}, answers.describe));
  }

  /** As the service described itself when it was connected to. */
  fingerprint(): string {
    return this.#fingerprint;
  }

  async inspect(): Promise<readonly SlotInspection[]> {
    const slots = await ask(this.#client, 'inspect', {}, answers.inspect);
    return slots.map((slot) => ({ ...slot, versions: slot.versions.map(read) }));
  }

  async prepare(slot: string, version: number): Promise<KeyVersion> {
    return read(await ask(this.#client, 'prepare', { slot, version }, answers.version));
  }

  async activate(slot: string, version: number, challenge: Uint8Array): Promise<ActivationProof> {
    const asked = { slot, version, challenge: toBase64Url(challenge) };
    const { proof } = await ask(this.#client, 'activate', asked, answers.activated);
    return proof === undefined ? {} : { proof: bytesOf(proof) };
  }

  async verify(slot: string, version: number): Promise<VerificationResult> {
    return await ask(this.#client, 'verify', { slot, version }, answers.verified);
  }

  async rollback(slot: string, version: number): Promise<void> {
    await ask(this.#client, 'rollback', { slot, version }, answers.done);
  }

  async retire(slot: string, version: number): Promise<void> {
    await ask(this.#client, 'retire', { slot, version }, answers.done);
  }

  async usesLately(slot: string, version: number): Promise<number> {
    return (await ask(this.#client, 'uses-lately', { slot, version }, answers.uses)).uses;
  }

  async samples(slot: string): Promise<Samples> {
    return await ask(this.#client, 'samples', { slot }, answers.samples);
  }

  async freeze(slot: string, frozen: boolean): Promise<void> {
    await ask(this.#client, 'freeze', { slot, frozen }, answers.done);
  }

  /** Tells the service what the policy asks. @throws AdapterError */
  async configure(settings: ServiceSettings): Promise<void> {
    await ask(this.#client, 'configure', settings, answers.done);
  }

  /** Uses of the keys since they were last taken. @throws AdapterError */
  async takeCounts(): Promise<readonly UsageCount[]> {
    return await ask(this.#client, 'take-counts', {}, answers.counts);
  }

  /** @throws AdapterError */
  async measure(): Promise<Readonly<Record<string, number>>> {
    return await ask(this.#client, 'measure', {}, answers.metrics);
  }

  /** What shall be certified, or undefined where nothing needs to be. @throws AdapterError */
  async certificateRequest(slot: string, version: number): Promise<Uint8Array | undefined> {
    const { request } = await ask(
      this.#client,
      'certificate-request',
      { slot, version },
      answers.request,
    );
    return request === undefined ? undefined : bytesOf(request);
  }

  /** @throws AdapterError */
  async installCertificate(
    slot: string,
    version: number,
    { chain, roots }: IssuedCertificate,
  ): Promise<void> {
    const asked = { chain: chain.map(toBase64Url), roots: roots.map(toBase64Url) };
    await ask(this.#client, 'install-certificate', { slot, version, ...asked }, answers.done);
  }

  close(): void {
    this.#client.close();
  }
}

async function ask<Answer>(
  client: ControlChannel,
  control: ServiceControl,
  body: unknown,
  check: { check(value: unknown): value is Answer; errors(value: unknown): string[] },
): Promise<Answer> {
  const answer = await answerOf(client, control, body);
  if (answer.status === 'refused') {
    const { code, reason, retryable } = answer;
    throw new AdapterError(isAdapterErrorCode(code) ? code : 'STORE_FAILED', reason, { retryable });
  }
  if (check.check(answer.body)) return answer.body;
  const what = `the answer to ${control} has another form: ${check.errors(answer.body)[0] ?? ''}`;
  throw new AdapterError('SYSTEM_UNREACHABLE', what);
}

async function answerOf(client: ControlChannel, control: ServiceControl, body: unknown) {
  try {
    return await client.ask({ method: 'POST', path: controlPath(control), body });
  } catch (cause) {
    if (!(cause instanceof ServiceError)) throw cause;
    const what =
      cause.code === 'PROGRAM_FAILED'
        ? cause.message
        : `the service did not answer ${control}: ${cause.code}`;
    throw new AdapterError('SYSTEM_UNREACHABLE', what, { cause, retryable: true });
  }
}

function read({ publicKey, ...version }: Static<typeof ServiceKeyVersion>): KeyVersion {
  return publicKey === undefined ? version : { ...version, publicKey: bytesOf(publicKey) };
}

function bytesOf(text: string): Uint8Array {
  const bytes = fromBase64Url(text);
  if (bytes !== undefined) return bytes;
  throw new AdapterError('SYSTEM_UNREACHABLE', 'the service answers with malformed base64url');
}
