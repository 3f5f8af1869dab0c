/**
 * Reading and writing of health resources. Content lies in layer 5 as the patient's record, its seal
 * here; what is read is checked against the seal before anybody sees it. Who may is decided by the
 * consents of the patient, each of which counts only while its tag and its signature hold.
 *
 * A write is safe to repeat and to interrupt: first the seal of the new content, then the content,
 * then older seals go.
 */

import {
  Consent,
  Observation,
  Patient,
  type ConsentAction,
  type HealthResource,
  type ResourceType,
} from '#schemas/fhir.ts';
import { compile } from '#schemas/primitives.ts';
import { decideAccess, type ConsentRefusal } from '#shared/core/consent.ts';
import { canonicalJson, isJson } from '#shared/crypto/canonical-json.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { Turns } from '#shared/runtime/turns.ts';
import type { Bearer } from '../service/capability-check.ts';
import { Refused } from '../service/http-app.ts';
import type { PatientRecords } from './records.ts';
import type { SealRow, SealStore } from './seal-store.ts';
import { nameOf, patientOf, type Sealing } from './sealing.ts';

export const resourceStatus = {
  RESOURCE_INVALID: 422,
  RESOURCE_UNKNOWN: 404,
  RESOURCE_TAMPERED: 409,
  PATIENT_CHANGED: 409,
  CONSENT_SIGNATURE_INVALID: 409,
  CONSENT_MISSING: 403,
  CONSENT_DENIED: 403,
  CONSENT_WITHDRAWN: 403,
  CONSENT_EXPIRED: 403,
  CONSENT_NOT_YOURS: 403,
  CONSENTS_FULL: 409,
} as const satisfies Readonly<Record<ConsentRefusal, number>> & Readonly<Record<string, number>>;
export type ResourceCode = keyof typeof resourceStatus;

const checks = {
  Patient: compile(Patient),
  Observation: compile(Observation),
  Consent: compile(Consent),
};

/** May bring a patient in who is not known yet. */
const registrarRole = 'registrar';
/** Consents of one patient that are looked at. */
const consentsMax = 256;
const pageMax = 100;
const readTriesMax = 3;

export interface SealedResource {
  readonly resource: HealthResource;
  readonly seal: SealRow;
}

export interface ResourceDeskPorts {
  readonly seals: SealStore;
  readonly sealing: Sealing;
  readonly records: PatientRecords;
  readonly clock: Clock;
}

export class ResourceDesk {
  readonly #ports: ResourceDeskPorts;
  /** Writes, re-sealing included, one after the other for each resource. */
  readonly turns = new Turns();

  constructor(ports: ResourceDeskPorts) {
    this.#ports = ports;
  }

  /** @throws Refused, ServiceError, AdapterError */
  async put(
    type: ResourceType,
    id: string,
    body: unknown,
    bearer: Bearer,
  ): Promise<SealedResource> {
    const resource = parsed(type, id, body);
    const name = nameOf(resource);
    const patient = patientOf(resource);
    return await this.turns.take(name, async () => {
      const known = this.#ports.seals.of(name)[0];
      if (known !== undefined && known.patient !== patient) {
        throw refused('PATIENT_CHANGED', 'a resource stays with its patient');
      }
      await this.#requireWrite(resource, bearer, known === undefined);
      return await this.#write(resource);
    });
  }

  /** @throws Refused, ServiceError, AdapterError */
  async get(type: ResourceType, id: string, bearer: Bearer): Promise<SealedResource> {
    const name = `${type}/${id}`;
    const patient = this.#ports.seals.of(name)[0]?.patient;
    if (patient === undefined) throw unknown();
    await this.#requireRead(type, patient, bearer);
    return await this.read(name);
  }

  /** A patient's observations, by name from `after` on; at most 100. */
  async observationsOf(patient: string, after: string, bearer: Bearer): Promise<SealedResource[]> {
    await this.#requireRead('Observation', patient, bearer);
    const names = this.#ports.seals.namesOf(patient, 'Observation', pageMax, after);
    return await this.#present(names);
  }

  /** What is there, checked against its seal. @throws Refused, ServiceError, AdapterError */
  async read(name: string): Promise<SealedResource> {
    for (let tries = 1; ; tries += 1) {
      const before = this.#ports.seals.of(name);
      const sealed = await this.#tryRead(name, before);
      if (sealed !== 'mismatch') return sealed;
      // A write may have come between: its seal, or that of the content before, was not looked at.
      if (tries >= readTriesMax) throw tampered(name);
    }
  }

  async #tryRead(name: string, before: readonly SealRow[]): Promise<SealedResource | 'mismatch'> {
    const { seals, records, sealing } = this.#ports;
    const patient = before[0]?.patient;
    if (patient === undefined) throw unknown();
    const content = await records.get(name, patient);
    const rows = [...seals.of(name), ...before];
    if (content === undefined) {
      // The first write of it was interrupted before layer 5 had it.
      if (rows.every(({ generation }) => generation === 1)) throw unknown();
      return 'mismatch';
    }
    const resource = fromContent(name, content);
    if (resource === undefined) return 'mismatch';
    const seal = rows.find(({ tag }) => sealing.isTagOf(tag, resource));
    if (seal === undefined) return 'mismatch';
    if (resource.resourceType === 'Consent') this.#requireSigned(resource, seal);
    // An answer that was lost left older seals behind: what is there now is the newest.
    if (rows.some(({ generation }) => generation < seal.generation)) {
      const isNewest = rows.every(({ generation }) => generation <= seal.generation);
      if (isNewest) seals.settle(name, seal.generation);
    }
    return { resource, seal };
  }

  async #write(resource: HealthResource): Promise<SealedResource> {
    const { seals, sealing, records, clock } = this.#ports;
    const name = nameOf(resource);
    const patient = patientOf(resource);
    const addedAtMs = clock.nowMs();
    const tag = sealing.tag(resource);
    const isConsent = resource.resourceType === 'Consent';
    const signature = isConsent ? { signature: sealing.sign(resource) } : {};
    const sealed = { name, patient, tag, addedAtMs, ...signature };
    const generation = seals.add(sealed);
    await records.put(name, patient, canonicalJson(resource));
    seals.settle(name, generation);
    return { resource, seal: { ...sealed, generation } };
  }

  async #requireWrite(resource: HealthResource, bearer: Bearer, isNew: boolean): Promise<void> {
    const patient = patientOf(resource);
    if (resource.resourceType === 'Consent') {
      if (bearer.subject === patient) return this.#requireRoom(patient, isNew);
      throw refused('CONSENT_NOT_YOURS', 'only the patient gives consent or takes it back');
    }
    const isRegistration = resource.resourceType === 'Patient' && isNew;
    if (isRegistration && bearer.roles.includes(registrarRole)) return;
    await this.#requireConsent(resource.resourceType, patient, 'write', bearer);
  }

  /** All consents of a patient are looked at: one too many is not given. */
  #requireRoom(patient: string, isNew: boolean): void {
    if (!isNew) return;
    const given = this.#ports.seals.namesOf(patient, 'Consent', consentsMax);
    if (given.length < consentsMax) return;
    throw refused('CONSENTS_FULL', `a patient has at most ${consentsMax} consents`);
  }

  async #requireRead(type: ResourceType, patient: string, bearer: Bearer): Promise<void> {
    if (type !== 'Consent') return await this.#requireConsent(type, patient, 'read', bearer);
    if (bearer.subject === patient) return;
    throw refused('CONSENT_NOT_YOURS', 'consents are shown to the patient alone');
  }

  async #requireConsent(
    resourceType: 'Patient' | 'Observation',
    patientId: string,
    action: ConsentAction,
    { subject: actor }: Bearer,
  ): Promise<void> {
    const consents = actor === patientId ? [] : await this.#consentsOf(patientId);
    const atMs = this.#ports.clock.nowMs();
    const decision = decideAccess(consents, { patientId, actor, action, resourceType, atMs });
    if (!decision.allowed) throw refused(decision.code, 'the patient has not consented to this');
  }

  /** One that was tampered with stops the request: it may have been a denial. */
  async #consentsOf(patient: string): Promise<Consent[]> {
    const names = this.#ports.seals.namesOf(patient, 'Consent', consentsMax);
    const read = await this.#present(names);
    return read.flatMap(({ resource }) => (resource.resourceType === 'Consent' ? [resource] : []));
  }

  /** Those of them that are there: the first write of one may be under way, or have been given up. */
  async #present(names: readonly string[]): Promise<SealedResource[]> {
    const read = await Promise.all(
      names.map(async (name) => {
        try {
          return [await this.read(name)];
        } catch (error) {
          if (error instanceof Refused && error.code === 'RESOURCE_UNKNOWN') return [];
          throw error;
        }
      }),
    );
    return read.flat();
  }

  #requireSigned(consent: Consent, { signature }: SealRow): void {
    if (signature !== undefined && this.#ports.sealing.isSignatureOf(signature, consent)) return;
    throw refused('CONSENT_SIGNATURE_INVALID', 'a consent does not carry a signature that holds');
  }
}

function parsed(type: ResourceType, id: string, body: unknown): HealthResource {
  const resource = checkedAs(type, body);
  if (resource === undefined || !isJson(resource)) {
    throw refused('RESOURCE_INVALID', `the body is no ${type} of the kind that is kept here`);
  }
  if (resource.id === id) return resource;
  throw refused('RESOURCE_INVALID', 'the id of the resource is not that of its path');
}

function checkedAs(type: ResourceType, value: unknown): HealthResource | undefined {
  if (type === 'Patient') return checks.Patient.check(value) ? value : undefined;
  if (type === 'Observation') return checks.Observation.check(value) ? value : undefined;
  return checks.Consent.check(value) ? value : undefined;
}

/** Undefined for what is not the resource of this name. */
function fromContent(name: string, content: Uint8Array): HealthResource | undefined {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(content).toString('utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  for (const type of ['Patient', 'Observation', 'Consent'] as const) {
    const resource = checkedAs(type, value);
    if (resource !== undefined && nameOf(resource) === name) return resource;
  }
  return undefined;
}

function refused(code: ResourceCode, reason: string): Refused<ResourceCode> {
  return new Refused(code, reason);
}

function unknown(): Refused<ResourceCode> {
  return refused('RESOURCE_UNKNOWN', 'there is no such resource');
}

function tampered(name: string): Refused<ResourceCode> {
  const type = name.slice(0, name.indexOf('/'));
  return refused('RESOURCE_TAMPERED', `the ${type} is not what was sealed`);
}
