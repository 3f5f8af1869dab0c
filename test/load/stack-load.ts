/**
 * A load on all seven layers: patients who write and read observations, give consent and keep records
 * and sealed objects, and a doctor who reads by their consent. Whatever was written is read again at
 * random for as long as the load runs, and compared. Every failed request counts, by its step and code;
 * what comes back different counts as `WRONG_CONTENT`.
 */
import type { TlsClient } from '#agents/layers/service/tls-client.ts';
import type { MeshLayout } from '#cli/mesh/layout.ts';
import { compile, Type } from '#schemas/primitives.ts';
import { toBase64Url } from '#shared/crypto/bytes.ts';
import { enrol } from './enrolment.ts';
import { frontDoor } from './front-door.ts';
import { PhaseBook, type PhaseReport } from './phase-book.ts';
import { StackUser, StepFailed, type Measured } from './stack-user.ts';

export interface LoadOptions {
  readonly patients: number;
  /** Between two rounds of a user; none unless told. */
  readonly pauseMs?: number;
  /** Between 0 and 1, 1 excluded: what is written, and what is read again. */
  readonly random?: () => number;
}

type Kind = keyof typeof readings;

interface Written {
  readonly patient: StackUser;
  readonly path: string;
  readonly expected: string;
  readonly kind: Kind;
  /** What is asked with, where it is asked for by POST. */
  readonly body?: unknown;
}

const doctor = 'doctor';
/** How each kind of thing is read. */
const readings = {
  patient: { audience: 'phi', scope: 'patient:read', method: 'GET' },
  consent: { audience: 'phi', scope: 'consent:read', method: 'GET' },
  observation: { audience: 'phi', scope: 'observation:read', method: 'GET' },
  record: { audience: 'database', scope: 'record:read', method: 'GET' },
  object: { audience: 'encryption', scope: 'encryption:use', method: 'POST' },
} as const;
/** Rounds to a further consent, and how many there are at the most. */
const consentEvery = 12;
const consentsMax = 24;
const sealedCheck = compile(Type.Object({ objectId: Type.String(), ciphertext: Type.String() }));
const writtenMax = 20_000;
/** Users who read everything once more, at the same time. */
const readersMax = 8;

export class StackLoad {
  readonly #layout: MeshLayout;
  readonly #options: Required<LoadOptions>;
  /** Of everybody who is measured: its retries are counted. */
  readonly client: TlsClient;
  readonly #patients: StackUser[];
  readonly #doctor: StackUser;
  readonly #written: Written[] = [];
  readonly #book: PhaseBook;
  #stopping = false;
  #count = 0;
  #consents = 0;
  #running: Promise<void>[] = [];

  constructor(layout: MeshLayout, options: LoadOptions) {
    this.#layout = layout;
    this.#options = { pauseMs: 0, random: Math.random, ...options };
    this.client = frontDoor(layout);
    const book = new PhaseBook('warm-up', () => this.client.retries);
    this.#book = book;
    const userOf = (subject: string): StackUser =>
      new StackUser(subject, this.client, (measured) => book.note(measured));
    this.#doctor = userOf(doctor);
    this.#patients = Array.from({ length: options.patients }, (_, at) => userOf(`patient-${at}`));
  }

  /** Enrols the users, as an administrator on the control sockets, and begins. */
  async start(): Promise<void> {
    await enrol(this.#layout, [
      ...this.#patients.map((user) => ({ user, role: 'patient' as const })),
      { user: this.#doctor, role: 'clinician' },
    ]);
    for (const patient of this.#patients) await this.#begin(patient);
    this.#running = [
      ...this.#patients.map((patient) => this.#loop(() => this.#round(patient))),
      this.#loop(() => this.#doctorRound()),
    ];
  }

  /** What comes from now on is counted under this name. */
  phase(name: string): void {
    this.#book.begin(name);
  }

  /** Counts a request of somebody else, in the phase of the moment. */
  note(measured: Measured): void {
    this.#book.note(measured);
  }

  /** The users stop; everything that was ever written is read once more, under this name. */
  async readAll(name: string): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#running);
    this.phase(name);
    const left = [...this.#written];
    const readSome = async (): Promise<void> => {
      for (let next = left.pop(); next !== undefined; next = left.pop()) {
        const written = next;
        await this.#guarded(() => this.#read(written));
      }
    };
    await Promise.all(Array.from({ length: readersMax }, readSome));
  }

  /** Ends what still runs. */
  async stop(): Promise<readonly PhaseReport[]> {
    this.#stopping = true;
    await Promise.all(this.#running);
    this.client.close();
    return this.#book.reports();
  }

  reports(): readonly PhaseReport[] {
    return this.#book.reports();
  }

  get written(): number {
    return this.#written.length;
  }

  /** A patient and his consent. */
  async #begin(patient: StackUser): Promise<void> {
    const { subject } = patient;
    const path = `/phi/v1/fhir/Patient/${subject}`;
    await patient.use('write-patient', {
      audience: 'phi',
      scope: 'patient:write',
      method: 'PUT',
      path,
      body: { resourceType: 'Patient', id: subject },
    });
    this.#keep({ patient, path, expected: `"id":"${subject}"`, kind: 'patient' });
    await this.#writeConsent(patient, subject);
  }

  async #writeConsent(patient: StackUser, id: string): Promise<void> {
    const path = `/phi/v1/fhir/Consent/${id}`;
    await patient.use('write-consent', {
      audience: 'phi',
      scope: 'consent:write',
      method: 'PUT',
      path,
      body: {
        resourceType: 'Consent',
        id,
        status: 'active',
        patient: { reference: `Patient/${patient.subject}` },
        provision: { type: 'permit', actor: [doctor], action: ['read'] },
      },
    });
    this.#consents += 1;
    this.#keep({ patient, path, expected: `"id":"${id}"`, kind: 'consent' });
  }

  async #round(patient: StackUser): Promise<void> {
    this.#count += 1;
    const id = `${patient.subject}.${this.#count}`;
    await this.#writeObservation(patient, id);
    if (this.#count % 2 === 0) await this.#writeRecord(patient, id);
    if (this.#count % 3 === 0) await this.#writeObject(patient, id);
    if (this.#count % consentEvery === 0 && this.#consents < consentsMax) {
      await this.#writeConsent(patient, id);
    }
    await this.#readAny();
  }

  async #doctorRound(): Promise<void> {
    const any = this.#any(({ kind }) => kind === 'observation');
    if (any === undefined) return await pause(50);
    await this.#read(any, this.#doctor);
  }

  async #writeObservation(patient: StackUser, id: string): Promise<void> {
    const path = `/phi/v1/fhir/Observation/${id}`;
    const value = Math.round(this.#options.random() * 1e6);
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
    const { kind, path, expected, body: asked } = written;
    const body = await reader.use(`read-${kind}`, {
      ...readings[kind],
      path,
      ...(asked === undefined ? {} : { body: asked }),
    });
    if (JSON.stringify(body).includes(expected)) return;
    this.#book.note({ step: `read-${kind}`, tookMs: 0, failure: 'WRONG_CONTENT' });
  }

  #any(fits: (written: Written) => boolean): Written | undefined {
    for (let tries = 0; tries < 16; tries += 1) {
      const written = this.#written[Math.floor(this.#options.random() * this.#written.length)];
      if (written !== undefined && fits(written)) return written;
    }
    return undefined;
  }

  #keep(written: Written): void {
    if (this.#written.length < writtenMax) this.#written.push(written);
  }

  async #loop(round: () => Promise<void>): Promise<void> {
    while (!this.#stopping) {
      await this.#guarded(round);
      if (this.#options.pauseMs > 0) await pause(this.#options.pauseMs);
    }
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
}

async function pause(durationMs: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, durationMs));
}
