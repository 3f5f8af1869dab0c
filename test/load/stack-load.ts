/**
 * A load on all seven layers: patients who write and read observations, give consent and keep records
 * and sealed objects, and a doctor who reads by their consent. Whatever was written is read again at
 * random for as long as the load runs, and compared. Every failed request counts, by its step and code;
 * what comes back different counts as `WRONG_CONTENT`.
 */
import { join } from 'node:path';
import { readFileSync } from 'node:fs';
import { ServiceClient, type ServiceAnswer } from '#agents/layers/service/service-client.ts';
import { TlsClient } from '#agents/layers/service/tls-client.ts';
import { memberFiles, type MeshLayout } from '#cli/mesh/layout.ts';
import type { Scope } from '#schemas/authorization.ts';
import { compile, Type } from '#schemas/primitives.ts';
import { toBase64Url } from '#shared/crypto/bytes.ts';
import { StackUser, StepFailed, type Measured } from './stack-user.ts';

export interface PhaseReport {
  readonly phase: string;
  readonly seconds: number;
  readonly requests: number;
  /** Milliseconds, of single requests. */
  readonly p50: number;
  readonly p99: number;
  readonly longest: number;
  /** `step: CODE` to how often. */
  readonly failures: Readonly<Record<string, number>>;
  /** Broken connections that were tried once more. */
  readonly retries: number;
}

interface Phase {
  readonly name: string;
  readonly beganMs: number;
  readonly tookMs: number[];
  readonly failures: Map<string, number>;
  readonly retriesBefore: number;
}

interface Written {
  readonly patient: StackUser;
  readonly path: string;
  readonly expected: string;
  readonly kind: 'observation' | 'record' | 'object';
  /** What is asked with, where it is asked for by POST. */
  readonly body?: unknown;
}

const patientScopes: readonly Scope[] = [
  'patient:read',
  'patient:write',
  'observation:read',
  'observation:write',
  'consent:read',
  'consent:write',
  'record:read',
  'record:write',
  'encryption:use',
];
const doctor = 'doctor';
const sealedCheck = compile(Type.Object({ objectId: Type.String(), ciphertext: Type.String() }));
const writtenMax = 20_000;

export class StackLoad {
  readonly #layout: MeshLayout;
  readonly #client: TlsClient;
  readonly #patients: StackUser[];
  readonly #doctor: StackUser;
  readonly #written: Written[] = [];
  #phase: Phase;
  readonly #reports: PhaseReport[] = [];
  #stopping = false;
  #count = 0;
  #running: Promise<void>[] = [];

  constructor(layout: MeshLayout, options: { readonly patients: number }) {
    this.#layout = layout;
    const state = join(layout.serviceDirectory(3), memberFiles.state);
    const listening: { host: string; port: number } = JSON.parse(
      readFileSync(join(state, 'listening'), 'utf8'),
    );
    const roots = readFileSync(join(state, 'roots.pem'), 'utf8');
    this.#client = new TlsClient({ ...listening, roots, timeoutMs: 20_000 });
    this.#phase = this.#begun('warm-up');
    const measure = (measured: Measured): void => this.#note(measured);
    this.#doctor = new StackUser(doctor, this.#client, measure);
    this.#patients = Array.from(
      { length: options.patients },
      (_, at) => new StackUser(`patient-${at}`, this.#client, measure),
    );
  }

  /** Enrols the users, as an administrator on the control sockets, and begins. */
  async start(): Promise<void> {
    await this.#enrol();
    for (const patient of this.#patients) await this.#begin(patient);
    this.#running = [
      ...this.#patients.map((patient) => this.#loop(() => this.#round(patient))),
      this.#loop(() => this.#doctorRound()),
    ];
  }

  /** What comes from now on is counted under this name. */
  phase(name: string): void {
    this.#reports.push(this.#reported());
    this.#phase = this.#begun(name);
  }

  /** Reads everything that was ever written, and ends. */
  async stop(): Promise<readonly PhaseReport[]> {
    this.#stopping = true;
    await Promise.all(this.#running);
    this.phase('everything read once more');
    for (const written of this.#written) await this.#guarded(() => this.#read(written));
    this.#reports.push(this.#reported());
    this.#client.close();
    return this.#reports;
  }

  get written(): number {
    return this.#written.length;
  }

  async #enrol(): Promise<void> {
    const identity = new ServiceClient({ socketPath: this.#layout.controlSocket(1) });
    const authorization = new ServiceClient({ socketPath: this.#layout.controlSocket(2) });
    const put = async (client: ServiceClient, path: string, body: unknown): Promise<void> => {
      done(await client.ask({ method: 'PUT', path: `/v1/admin/${path}`, body }));
    };
    const clinician: readonly Scope[] = ['patient:read', 'observation:read'];
    await put(authorization, 'roles/patient', { scopes: patientScopes });
    await put(authorization, 'roles/clinician', { scopes: clinician });
    for (const user of [...this.#patients, this.#doctor]) {
      await put(identity, `users/${user.subject}`, {
        publicKey: toBase64Url(user.key.publicKey.raw),
        totpSecret: toBase64Url(user.totpSecret),
      });
      const roles = user === this.#doctor ? ['clinician'] : ['patient'];
      await put(authorization, `subjects/${user.subject}`, { roles });
    }
    identity.close();
    authorization.close();
  }

  /** A patient and his consent. */
  async #begin(patient: StackUser): Promise<void> {
    const { subject } = patient;
    await patient.use('write-patient', {
      audience: 'phi',
      scope: 'patient:write',
      method: 'PUT',
      path: `/phi/v1/fhir/Patient/${subject}`,
      body: { resourceType: 'Patient', id: subject },
    });
    await patient.use('write-consent', {
      audience: 'phi',
      scope: 'consent:write',
      method: 'PUT',
      path: `/phi/v1/fhir/Consent/${subject}`,
      body: {
        resourceType: 'Consent',
        id: subject,
        status: 'active',
        patient: { reference: `Patient/${subject}` },
        provision: { type: 'permit', actor: [doctor], action: ['read'] },
      },
    });
  }

  async #round(patient: StackUser): Promise<void> {
    this.#count += 1;
    const id = `${patient.subject}.${this.#count}`;
    await this.#writeObservation(patient, id);
    if (this.#count % 2 === 0) await this.#writeRecord(patient, id);
    if (this.#count % 3 === 0) await this.#writeObject(patient, id);
    await this.#readAny();
  }

  async #doctorRound(): Promise<void> {
    const any = this.#any(({ kind }) => kind === 'observation');
    if (any === undefined) return await pause(50);
    await this.#read(any, this.#doctor);
  }

  async #writeObservation(patient: StackUser, id: string): Promise<void> {
    const path = `/phi/v1/fhir/Observation/${id}`;
    const value = Math.round(Math.random() * 1e6);
    await patient.use('write-observation', {
      audience: 'phi',
      scope: 'observation:write',
      method: 'PUT',
      path,
      body: {
        resourceType: 'Observation',
        id,
        status: 'final',
        code: { text: 'pulse' },
        subject: { reference: `Patient/${patient.subject}` },
        valueQuantity: { value, unit: '/min' },
      },
    });
    this.#keep({ patient, path, expected: `"value":${value}`, kind: 'observation' });
  }

  async #writeRecord(patient: StackUser, id: string): Promise<void> {
    const path = `/database/v1/records/${id}`;
    const text = toBase64Url(Buffer.from(`a note, ${id}`));
    await patient.use('write-record', {
      audience: 'database',
      scope: 'record:write',
      method: 'PUT',
      path,
      body: { kind: 'note', columns: { text } },
    });
    this.#keep({ patient, path, expected: `"text":"${text}"`, kind: 'record' });
  }

  async #writeObject(patient: StackUser, id: string): Promise<void> {
    const plaintext = toBase64Url(Buffer.from(`sealed, ${id}`));
    const sealed = await patient.use('encrypt', {
      audience: 'encryption',
      scope: 'encryption:use',
      method: 'POST',
      path: '/encryption/v1/objects/encrypt',
      body: { plaintext, context: patient.subject },
    });
    if (!sealedCheck.check(sealed)) throw new Error('nothing was sealed');
    const { objectId, ciphertext } = sealed;
    const context = patient.subject;
    const body = { objectId, ciphertext, context };
    this.#keep({
      patient,
      path: '/encryption/v1/objects/decrypt',
      body,
      expected: `"plaintext":"${plaintext}"`,
      kind: 'object',
    });
  }

  async #readAny(): Promise<void> {
    const any = this.#any(() => true);
    if (any !== undefined) await this.#read(any);
  }

  async #read(written: Written, reader = written.patient): Promise<void> {
    const { kind, path, expected } = written;
    const body =
      kind === 'object'
        ? await reader.use('decrypt', {
            audience: 'encryption',
            scope: 'encryption:use',
            method: 'POST',
            path,
            body: written.body,
          })
        : kind === 'record'
          ? await reader.use('read-record', {
              audience: 'database',
              scope: 'record:read',
              method: 'GET',
              path,
            })
          : await reader.use('read-observation', {
              audience: 'phi',
              scope: 'observation:read',
              method: 'GET',
              path,
            });
    if (JSON.stringify(body).includes(expected)) return;
    this.#note({ step: `read ${kind}`, tookMs: 0, failure: 'WRONG_CONTENT' });
  }

  #any(fits: (written: Written) => boolean): Written | undefined {
    for (let tries = 0; tries < 16; tries += 1) {
      const written = this.#written[Math.floor(Math.random() * this.#written.length)];
      if (written !== undefined && fits(written)) return written;
    }
    return undefined;
  }

  #keep(written: Written): void {
    if (this.#written.length < writtenMax) this.#written.push(written);
  }

  async #loop(round: () => Promise<void>): Promise<void> {
    while (!this.#stopping) await this.#guarded(round);
  }

  /** What failed has been counted; the user goes on. */
  async #guarded(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof StepFailed)) throw error;
      await pause(100);
    }
  }

  #note({ step, tookMs, failure }: Measured): void {
    if (failure === undefined) {
      this.#phase.tookMs.push(tookMs);
      return;
    }
    const name = `${step}: ${failure}`;
    this.#phase.failures.set(name, (this.#phase.failures.get(name) ?? 0) + 1);
  }

  #begun(name: string): Phase {
    const retriesBefore = this.#client.retries;
    return { name, beganMs: performance.now(), tookMs: [], failures: new Map(), retriesBefore };
  }

  #reported(): PhaseReport {
    const { name, beganMs, tookMs, failures, retriesBefore } = this.#phase;
    const sorted = tookMs.toSorted((a, b) => a - b);
    const at = (share: number): number =>
      Math.round(
        (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 10,
      ) / 10;
    return {
      phase: name,
      seconds: Math.round((performance.now() - beganMs) / 100) / 10,
      requests: sorted.length + [...failures.values()].reduce((sum, count) => sum + count, 0),
      p50: at(0.5),
      p99: at(0.99),
      longest: at(1),
      failures: Object.fromEntries(failures),
      retries: this.#client.retries - retriesBefore,
    };
  }
}

function done(answer: ServiceAnswer): unknown {
  if (answer.status === 'refused') throw new Error(`${answer.code}: ${answer.reason}`);
  return answer.body;
}

async function pause(durationMs: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, durationMs));
}
