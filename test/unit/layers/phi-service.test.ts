/**
 * Layer 6's service over its sockets: who may see what by which consent, what a change in layer 5 or in
 * the seals leads to, and rotations of both of its slots with resources made before, during and after.
 * Layers 2 and 5 are simulated here, with the routes that layer 6 uses.
 */
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SealStore } from '#agents/layers/6-phi/seal-store.ts';
import { openService } from '#agents/layers/6-phi/service.ts';
import type { RemoteAdapter } from '#agents/layers/service/remote-adapter.ts';
import type { ServicePorts } from '#agents/layers/service/service.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { RunningService } from '../../support/layer-service.ts';
import { fillable } from '../../support/full-disk.ts';
import { logTo } from '../../support/log-lines.ts';
import { openSimulatedAuthorization, openSimulatedRecords, peers, tokenOf } from './phi-peers.ts';

const ada = 'patient-ada';
const doctor = 'doctor-b';
const challenge = new Uint8Array([1, 2, 3]);

const patient = { resourceType: 'Patient', id: ada, name: [{ family: 'L', given: ['Ada'] }] };
const pulse = (id: string, value = 61) => ({
  resourceType: 'Observation',
  id,
  status: 'final',
  code: { text: 'pulse' },
  subject: { reference: `Patient/${ada}` },
  valueQuantity: { value, unit: '/min' },
});
const consent = (id: string, fields: Record<string, unknown> = {}, provision = {}) => ({
  resourceType: 'Consent',
  id,
  status: 'active',
  patient: { reference: `Patient/${ada}` },
  provision: { type: 'permit', actor: [doctor], action: ['read', 'write'], ...provision },
  ...fields,
});

let phi: RunningService;
let others: RunningService[];
let adapter: RemoteAdapter;
/** No seal can be replaced. */
let isDiskFull: boolean;
/** Every line of layer 6's log. */
let lines: string[];

beforeEach(async () => {
  peers.records = new Map();
  peers.isDatabaseDown = false;
  peers.isAnswerLost = false;
  isDiskFull = false;
  lines = [];
  const open = (ports: ServicePorts) =>
    openService({ ...ports, disk: fillable(ports.disk, 'UPDATE seals', () => isDiskFull) });
  phi = await RunningService.start({ layer: 6, open, log: logTo(lines) });
  const { folder } = phi;
  others = [
    await RunningService.start({ layer: 2, open: openSimulatedAuthorization, folder }),
    await RunningService.start({ layer: 5, open: openSimulatedRecords, folder }),
  ];
  adapter = await phi.adapter();
});

afterEach(async () => {
  adapter.close();
  for (const other of others) await other.end();
  await phi.end();
});

describe('consent decides', () => {
  test('the patient alone at first, whoever he names later, nobody once he takes it back', async () => {
    await given(ada, 'PUT', patient);
    await given(ada, 'PUT', pulse('p1'));
    expect(await tried(doctor, 'GET', pulse('p1'))).toBe('CONSENT_MISSING');
    await given(ada, 'PUT', consent('c1'));
    expect(await tried(doctor, 'GET', pulse('p1'))).toBe('done');
    expect(await tried(doctor, 'PUT', pulse('p2', 70))).toBe('done');
    expect(await tried('doctor-c', 'GET', pulse('p1'))).toBe('CONSENT_MISSING');
    await given(ada, 'PUT', consent('c1', { status: 'inactive' }));
    expect(await tried(doctor, 'GET', pulse('p1'))).toBe('CONSENT_WITHDRAWN');
    expect(await tried(doctor, 'PUT', pulse('p3'))).toBe('CONSENT_WITHDRAWN');
    expect(phi.service.measure()['refused-consent-withdrawn']).toBe(2);
    const logged = lines.filter((line) => line.includes('CONSENT_WITHDRAWN'));
    expect(logged).toEqual([
      expect.stringContaining('/v1/fhir/:type/:id'),
      expect.stringContaining('/v1/fhir/:type/:id'),
    ]);
    expectNoSecrets();
  });

  test('all consents of a patient are looked at, and there are at most 256 of them', async () => {
    await given(ada, 'PUT', patient);
    await given(ada, 'PUT', consent('first'));
    const store = SealStore.open(new SystemDisk(join(phi.folder, 'layer-6')));
    const tag = { version: 1, bytes: new Uint8Array(48) };
    for (let count = 0; count < 254; count += 1) {
      store.add({ name: `Consent/more-${count}`, patient: ada, tag, addedAtMs: 0 });
    }
    store.close();
    await given(ada, 'PUT', consent('256th'));
    expect(await tried(ada, 'PUT', consent('257th'))).toBe('CONSENTS_FULL');
    expect(phi.service.measure()['refused-consents-full']).toBe(1);
    // One that is there may be taken back.
    expect(await tried(ada, 'PUT', consent('first', { status: 'inactive' }))).toBe('done');
    const bob = { ...consent('bobs'), patient: { reference: 'Patient/bob' } };
    expect(await tried('bob', 'PUT', bob)).toBe('done');
  });

  test('a denial goes before a permission, a period bounds it, a class and an action too', async () => {
    await given(ada, 'PUT', patient);
    await given(ada, 'PUT', pulse('p1'));
    await given(ada, 'PUT', consent('permit', {}, { class: ['Observation'], action: ['read'] }));
    expect(await tried(doctor, 'GET', pulse('p1'))).toBe('done');
    expect(await tried(doctor, 'GET', patient)).toBe('CONSENT_MISSING');
    expect(await tried(doctor, 'PUT', pulse('p1'))).toBe('CONSENT_MISSING');
    await given(ada, 'PUT', consent('deny', {}, { type: 'deny' }));
    expect(await tried(doctor, 'GET', pulse('p1'))).toBe('CONSENT_DENIED');
    await given(ada, 'PUT', consent('deny', { status: 'inactive' }, { type: 'deny' }));
    const past = { period: { startMs: 0, endMs: 1 }, class: ['Observation'], action: ['read'] };
    await given(ada, 'PUT', consent('permit', {}, past));
    expect(await tried(doctor, 'GET', pulse('p1'))).toBe('CONSENT_EXPIRED');
  });

  test('nobody else consents for a patient, brings one in, or takes a resource to another', async () => {
    expect(await tried(doctor, 'PUT', patient)).toBe('CONSENT_MISSING');
    expect(await tried('desk', 'PUT', patient, ['registrar'])).toBe('done');
    expect(await tried('desk', 'PUT', patient, ['registrar'])).toBe('CONSENT_MISSING');
    expect(await tried(doctor, 'PUT', consent('c1'))).toBe('CONSENT_NOT_YOURS');
    await given(ada, 'PUT', pulse('p1'));
    const stolen = { ...pulse('p1'), subject: { reference: `Patient/${doctor}` } };
    expect(await tried(doctor, 'PUT', stolen)).toBe('PATIENT_CHANGED');
  });

  test('without a capability, with one used up, or for something else there is no answer', async () => {
    await given(ada, 'PUT', patient);
    const path = `/v1/fhir/Patient/${ada}`;
    const get = (token: string) =>
      phi.client.ask({
        method: 'GET',
        path,
        headers: token === '' ? {} : { authorization: `Capability ${token}` },
      });
    expect(await get('')).toMatchObject({ code: 'CAPABILITY_MISSING' });
    expect(await get('rubbish')).toMatchObject({ code: 'CAPABILITY_INVALID' });
    expect(await get(tokenOf(ada, ['patient:write']))).toMatchObject({ code: 'SCOPE_EXCEEDED' });
    const once = tokenOf(ada, ['patient:read']);
    expect(await get(once)).toMatchObject({ status: 'done' });
    expect(await get(once)).toMatchObject({ code: 'NONCE_REPLAYED' });
    const unknownField = { ...patient, hobby: 'chess' };
    expect(await tried(ada, 'PUT', unknownField)).toBe('RESOURCE_INVALID');
  });
});

describe('what was sealed', () => {
  test('is not shown once it was changed, taken away or moved to another place', async () => {
    await given(ada, 'PUT', patient);
    await given(ada, 'PUT', pulse('p1'));
    await given(ada, 'PUT', pulse('p2', 80));
    const first = recordOf('Observation.p1');
    peers.records.set('Observation.p1', {
      owner: ada,
      resource: changed(first.resource, '61', '16'),
    });
    expect(await tried(ada, 'GET', pulse('p1'))).toBe('RESOURCE_TAMPERED');
    peers.records.set('Observation.p1', recordOf('Observation.p2'));
    expect(await tried(ada, 'GET', pulse('p1'))).toBe('RESOURCE_TAMPERED');
    expect(phi.service.measure()['refused-resource-tampered']).toBe(2);
    expect(lines.filter((line) => line.includes('RESOURCE_TAMPERED'))).toHaveLength(2);
    expectNoSecrets();
    peers.records.set('Observation.p1', first);
    expect(await tried(ada, 'GET', pulse('p1'))).toBe('done');
    peers.records.delete('Observation.p2');
    await given(ada, 'PUT', pulse('p3'));
    expect(await tried(ada, 'GET', pulse('p3'))).toBe('done');
  });

  test('a consent that was changed stops those whom it concerns: it may have been a denial', async () => {
    await given(ada, 'PUT', patient);
    await given(ada, 'PUT', consent('c1', {}, { type: 'deny' }));
    const { resource } = recordOf('Consent.c1');
    peers.records.set('Consent.c1', { owner: ada, resource: changed(resource, 'deny', 'permit') });
    expect(await tried(doctor, 'GET', patient)).toBe('RESOURCE_TAMPERED');
    expect(await tried(ada, 'GET', patient)).toBe('done');
  });

  test('a write that layer 5 did not take leaves what was there, and may be repeated', async () => {
    await given(ada, 'PUT', patient);
    await given(ada, 'PUT', pulse('p1', 61));
    peers.isDatabaseDown = true;
    expect(await tried(ada, 'PUT', pulse('p1', 62))).toBe('PEER_UNAVAILABLE');
    peers.isDatabaseDown = false;
    expect(valueOf(await asked(ada, 'GET', pulse('p1')))).toBe(61);
    expect(await tried(ada, 'PUT', pulse('p1', 62))).toBe('done');
    expect(valueOf(await asked(ada, 'GET', pulse('p1')))).toBe(62);
  });

  test('an answer that was lost leaves two seals until it is read; then the older content is none', async () => {
    await given(ada, 'PUT', patient);
    await given(ada, 'PUT', pulse('p1', 61));
    const older = recordOf('Observation.p1');
    peers.isAnswerLost = true;
    expect(await tried(ada, 'PUT', pulse('p1', 62))).toBe('PEER_UNAVAILABLE');
    peers.isAnswerLost = false;
    expect(phi.service.measure()['seals']).toBe(3);
    expect(valueOf(await asked(ada, 'GET', pulse('p1')))).toBe(62);
    expect(phi.service.measure()['seals']).toBe(2);
    peers.records.set('Observation.p1', older);
    expect(await tried(ada, 'GET', pulse('p1'))).toBe('RESOURCE_TAMPERED');
  });
});

describe('what somebody sends', () => {
  test('is no fault of the key: numbers and texts that JSON cannot carry are refused', async () => {
    await given(ada, 'PUT', patient);
    const before = await adapter.samples(tagSlot);
    expect(await tried(ada, 'PUT', pulse('p1', 1e20))).toBe('RESOURCE_INVALID');
    const torn = { ...patient, name: [{ family: 'a\uD800' }] };
    expect(await tried(ada, 'PUT', torn)).toBe('RESOURCE_INVALID');
    expect(await adapter.samples(tagSlot)).toEqual(before);
  });

  test('and never came to layer 5 holds up nobody else, nor a rotation', async () => {
    await given(ada, 'PUT', patient);
    await given(ada, 'PUT', pulse('z'));
    await given(ada, 'PUT', consent('c1'));
    peers.isDatabaseDown = true;
    expect(await tried(ada, 'PUT', pulse('a'))).toBe('PEER_UNAVAILABLE');
    expect(await tried(ada, 'PUT', consent('c0'))).toBe('PEER_UNAVAILABLE');
    peers.isDatabaseDown = false;
    expect(await tried(doctor, 'GET', pulse('z'))).toBe('done');
    expect(await tried(ada, 'GET', pulse('a'))).toBe('RESOURCE_UNKNOWN');
    await adapter.prepare(tagSlot, 2);
    await adapter.activate(tagSlot, 2, challenge);
    await until(async () => sealOf(await asked(ada, 'GET', pulse('z')))['keyVersion'] === 2);
    await given(ada, 'PUT', pulse('a'));
    await given(ada, 'PUT', consent('c0'));
    await until(async () => (await adapter.measure())['seals-under-older-keys'] === 0);
  });
});

describe('a rotation', () => {
  test('seals everything anew beside the requests; the old key is needed until then', async () => {
    await given(ada, 'PUT', patient);
    await given(ada, 'PUT', consent('c1'));
    for (let count = 0; count < 40; count += 1) await given(ada, 'PUT', pulse(`p${count}`));
    await adapter.prepare(tagSlot, 2);
    await given(ada, 'PUT', pulse('during'));
    peers.isDatabaseDown = true;
    await adapter.activate(tagSlot, 2, challenge);
    expect(await adapter.usesLately(tagSlot, 1)).toBeGreaterThanOrEqual(43);
    await expect(adapter.retire(tagSlot, 1)).rejects.toMatchObject({ code: 'STATE_CONFLICT' });
    peers.isDatabaseDown = false;
    await given(ada, 'PUT', pulse('after'));
    await until(async () => (await adapter.measure())['seals-under-older-keys'] === 0);
    expect(await tried(doctor, 'GET', pulse('p7'))).toBe('done');
    await adapter.retire(tagSlot, 1);
    for (const id of ['p0', 'p39', 'during', 'after']) {
      expect(await tried(ada, 'GET', pulse(id))).toBe('done');
    }
  });

  test('of the key of consents signs them anew, a restart in between included', async () => {
    await given(ada, 'PUT', patient);
    await given(ada, 'PUT', consent('c1'));
    await adapter.prepare(signatureSlot, 2);
    peers.isDatabaseDown = true;
    await adapter.activate(signatureSlot, 2, challenge);
    await phi.stop();
    peers.isDatabaseDown = false;
    await phi.start();
    await until(async () => {
      const seal = sealOf(await asked(ada, 'GET', consent('c1')));
      return seal['signatureKeyVersion'] === 2;
    });
    await until(async () => (await adapter.usesLately(signatureSlot, 1)) === 0);
    await adapter.retire(signatureSlot, 1);
    expect(await tried(doctor, 'GET', patient)).toBe('done');
  });

  test('that is rolled back leaves nothing unreadable, and goes back to the key before', async () => {
    await given(ada, 'PUT', patient);
    await adapter.prepare(tagSlot, 2);
    await adapter.activate(tagSlot, 2, challenge);
    await given(ada, 'PUT', pulse('new'));
    await adapter.rollback(tagSlot, 1);
    await until(async () => (await adapter.measure())['seals-under-older-keys'] === 0);
    expect(await tried(ada, 'GET', pulse('new'))).toBe('done');
    expect(sealOf(await asked(ada, 'GET', pulse('new')))['keyVersion']).toBe(1);
  });

  test('goes on when the disk has room again; meanwhile everything is shown', async () => {
    await given(ada, 'PUT', patient);
    await given(ada, 'PUT', pulse('p1'));
    await adapter.prepare(tagSlot, 2);
    isDiskFull = true;
    await adapter.activate(tagSlot, 2, challenge);
    await until(async () => lines.some((line) => line.includes('DISK_FULL')));
    expect(await tried(ada, 'GET', pulse('p1'))).toBe('done');
    expect((await adapter.measure())['seals-under-older-keys']).toBe(2);
    await expect(adapter.retire(tagSlot, 1)).rejects.toMatchObject({ code: 'STATE_CONFLICT' });
    isDiskFull = false;
    await until(async () => (await adapter.measure())['seals-under-older-keys'] === 0);
    await adapter.retire(tagSlot, 1);
    expect(await tried(ada, 'GET', pulse('p1'))).toBe('done');
  });

  test('while the slot is frozen everything is shown and nothing is written', async () => {
    await given(ada, 'PUT', patient);
    await adapter.freeze(tagSlot, true);
    expect(await tried(ada, 'GET', patient)).toBe('done');
    expect(await tried(ada, 'PUT', pulse('p1'))).toBe('SLOT_FROZEN');
    await adapter.freeze(tagSlot, false);
    expect(await tried(ada, 'PUT', pulse('p1'))).toBe('done');
  });
});

const tagSlot = '6/patient-mac';
const signatureSlot = '6/consent-signature';

interface Resource {
  readonly resourceType: string;
  readonly id: string;
}

function asked(subject: string, method: 'GET' | 'PUT', resource: Resource, roles: string[] = []) {
  const { resourceType, id } = resource;
  const scope = `${resourceType.toLowerCase()}:${method === 'GET' ? 'read' : 'write'}`;
  const token = tokenOf(subject, [scope], roles);
  return phi.client.ask({
    method,
    path: `/v1/fhir/${resourceType}/${id}`,
    headers: { authorization: `Capability ${token}` },
    ...(method === 'PUT' ? { body: resource } : {}),
  });
}

/** `done`, or the code of the refusal. */
async function tried(
  subject: string,
  method: 'GET' | 'PUT',
  resource: Resource,
  roles: string[] = [],
): Promise<string> {
  const answer = await asked(subject, method, resource, roles);
  return answer.status === 'done' ? 'done' : answer.code;
}

async function given(subject: string, method: 'GET' | 'PUT', resource: Resource): Promise<void> {
  expect(await tried(subject, method, resource)).toBe('done');
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20));
}

function bodyOf(
  answer: Awaited<ReturnType<typeof asked>>,
): Record<string, Record<string, unknown>> {
  if (answer.status === 'refused') throw new Error(answer.code);
  return answer.body as Record<string, Record<string, unknown>>;
}

function sealOf(answer: Awaited<ReturnType<typeof asked>>): Record<string, unknown> {
  return bodyOf(answer)['seal'] ?? {};
}

function valueOf(answer: Awaited<ReturnType<typeof asked>>): unknown {
  const { valueQuantity } = bodyOf(answer)['resource'] as { valueQuantity: { value: number } };
  return valueQuantity.value;
}

function recordOf(id: string): { owner: string; resource: string } {
  const record = peers.records.get(id);
  if (record === undefined) throw new Error(`no record ${id}`);
  return record;
}

function changed(resource: string, from: string, to: string): string {
  const text = Buffer.from(resource, 'base64url').toString();
  expect(text).toContain(from);
  return Buffer.from(text.replace(from, to)).toString('base64url');
}

/** Neither whose data it is, nor who asked, nor what is in it, nor by which capability. */
function expectNoSecrets(): void {
  for (const secret of [
    ada,
    doctor,
    'p1',
    'c1',
    'pulse',
    'Capability',
    tokenOf(ada, []).slice(0, 12),
  ]) {
    expect(lines.filter((line) => line.includes(secret))).toEqual([]);
  }
}
