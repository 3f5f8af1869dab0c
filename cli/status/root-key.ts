/**
 * Where layer 4's service has its root KEK, as it says itself on its control socket: only whoever may
 * turn the mesh's keys on this machine can ask there.
 */
import { compile } from '#schemas/primitives.ts';
import { serviceControls } from '#schemas/service.ts';
import { controlPath } from '#agents/layers/service/control-routes.ts';
import { ServiceClient, ServiceError } from '#agents/layers/service/service-client.ts';
import type { KeyCustody } from '#agents/layers/service/service.ts';
import type { MeshLayout } from '../mesh/layout.ts';
import type { Answered } from './answered.ts';

const described = compile(serviceControls.describe.answer);
const timeoutMs = 2_000;

export async function rootKeyStatus(layout: MeshLayout): Promise<Answered<KeyCustody>> {
  const client = new ServiceClient({ socketPath: layout.controlSocket(4), timeoutMs });
  try {
    const path = controlPath('describe');
    const answer = await client.ask({ method: 'POST', path, body: {} });
    if (answer.status === 'refused') return { ok: false, code: answer.code, reason: answer.reason };
    if (described.check(answer.body) && answer.body.custody !== undefined) {
      return { ok: true, value: answer.body.custody };
    }
    return { ok: false, code: 'ANSWER_MALFORMED', reason: 'layer 4 does not say where it is' };
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    return { ok: false, code: error.code, reason: error.message };
  } finally {
    client.close();
  }
}
