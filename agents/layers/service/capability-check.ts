/**
 * How a service asks whether a request is allowed: the capability that the request carries goes to
 * layer 2, which says whose it is and uses it up. What layer 2 refuses is refused here under the same
 * code; a service that layer 2 does not answer allows nothing.
 */

import { randomUUID } from 'node:crypto';
import type { Context } from 'hono';
import { List, StrictObject, Text, compile, type Static } from '#schemas/primitives.ts';
import { Refused } from './http-app.ts';
import { givenRequestId, requestIdHeader } from './repeated-request.ts';
import type { ServiceClient } from './service-client.ts';

/** 401: nobody; 403: somebody who may not. */
export const capabilityStatus = {
  CAPABILITY_MISSING: 401,
  CAPABILITY_INVALID: 401,
  CAPABILITY_EXPIRED: 401,
  /** Signed by a key that is gone, or never was. */
  CAPABILITY_KEY_UNKNOWN: 401,
  NONCE_REPLAYED: 401,
  AUDIENCE_WRONG: 403,
  SCOPE_EXCEEDED: 403,
  /** Layer 1 does not vouch, or no longer, for the key that it is signed by. */
  CAPABILITY_KEY_UNCERTIFIED: 503,
} as const;
export type CapabilityCode = keyof typeof capabilityStatus;

export const Bearer = StrictObject({
  /** Who is acting. */
  subject: Text(256),
  roles: List(Text(64), { itemsMax: 32 }),
  scope: List(Text(64), { itemsMax: 32 }),
});
export type Bearer = Static<typeof Bearer>;
const bearerCheck = compile(Bearer);

const headerPattern = /^Capability ([\w.~-]{1,16384})$/;

export interface CapabilityDesk {
  /** Layer 2, on the socket of the service that asks: what the capability must be for. */
  readonly authorization: () => ServiceClient;
}

/** Whose capability the request carries. It is used up. @throws Refused, ServiceError */
export async function requireCapability(
  context: Context,
  desk: CapabilityDesk,
  scope: string,
): Promise<Bearer> {
  const token = headerPattern.exec(context.req.header('authorization') ?? '')?.[1];
  if (token === undefined) {
    throw new Refused<CapabilityCode>('CAPABILITY_MISSING', 'the request carries no capability');
  }
  // A question that is repeated because a connection broke is no replay.
  const requestId = givenRequestId(context.req.header(requestIdHeader)) ?? randomUUID();
  const answer = await desk.authorization().ask({
    method: 'POST',
    path: '/internal/v1/introspections',
    body: { token, scope, requestId },
  });
  if (answer.status === 'refused') {
    const { code, reason, retryable } = answer;
    const isPassedOn = isCapabilityCode(code) || code === 'OVERLOADED';
    throw new Refused(isPassedOn ? code : 'PEER_UNAVAILABLE', reason, { retryable });
  }
  if (bearerCheck.check(answer.body)) return answer.body;
  throw new Refused('PEER_UNAVAILABLE', 'layer 2 gave no valid answer');
}

function isCapabilityCode(code: string): code is CapabilityCode {
  return Object.hasOwn(capabilityStatus, code);
}
