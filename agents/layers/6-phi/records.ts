/** Where layer 6 keeps its resources: in layer 5, as records of the patient's. */

import { Base64Url, Type, compile } from '#schemas/primitives.ts';
import { fromBase64Url, toBase64Url } from '#shared/crypto/bytes.ts';
import { Refused } from '../service/http-app.ts';
import type { ServiceAnswer, ServiceClient } from '../service/service-client.ts';

const column = 'resource';

/** Of what layer 5 says about a record, the part that is looked at. */
const recordCheck = compile(
  Type.Object({ columns: Type.Object({ [column]: Base64Url(262_144) }) }),
);

/** What layer 5 may refuse a resource for. */
export const recordStatus = {
  RECORD_TAMPERED: 409,
  SLOT_FROZEN: 423,
} as const;
export type RecordCode = keyof typeof recordStatus;

export class PatientRecords {
  readonly #database: () => ServiceClient;

  constructor(database: () => ServiceClient) {
    this.#database = database;
  }

  /** Says what shall be there: it may be repeated. @throws Refused, ServiceError */
  async put(name: string, patient: string, content: Uint8Array): Promise<void> {
    const answer = await this.#database().ask({
      method: 'PUT',
      path: `/internal/v1/records/${recordId(name)}`,
      body: {
        owner: patient,
        kind: name.slice(0, name.indexOf('/')).toLowerCase(),
        columns: { [column]: toBase64Url(content) },
      },
    });
    if (answer.status === 'refused') throw refusedBy(answer);
  }

  /** Undefined where layer 5 has no such record of this patient. @throws Refused, ServiceError */
  async get(name: string, patient: string): Promise<Uint8Array | undefined> {
    const owner = encodeURIComponent(patient);
    const answer = await this.#database().ask({
      method: 'GET',
      path: `/internal/v1/records/${recordId(name)}?owner=${owner}`,
    });
    if (answer.status === 'refused') {
      if (answer.code === 'RECORD_UNKNOWN') return undefined;
      throw refusedBy(answer);
    }
    const content = recordCheck.check(answer.body)
      ? fromBase64Url(answer.body.columns[column])
      : undefined;
    if (content === undefined) throw new Refused('PEER_UNAVAILABLE', 'layer 5 gave no record');
    return content;
  }
}

function recordId(name: string): string {
  return encodeURIComponent(name.replace('/', '.'));
}

function refusedBy({ code, reason, retryable }: Extract<ServiceAnswer, { status: 'refused' }>) {
  const isKnown = (known: string): known is RecordCode => Object.hasOwn(recordStatus, known);
  return new Refused(isKnown(code) ? code : 'PEER_UNAVAILABLE', reason, { retryable });
}
