/** Bodies of audited events by their types, and what later entries of a saga can take from them. */

import { isEventType, type EventBody, type EventTypeName } from '#schemas/events.ts';
import { reportFacts, type ConsumableBody } from './audit-evidence.ts';
import type { AnnouncedEvent } from './entitlement.ts';

interface Announcing {
  readonly announced: Pick<AnnouncedEvent, 'type'>;
}

/** What later entries can take from an event. */
export function consumableOf(event: Announcing, body: unknown): ConsumableBody | undefined {
  if (isBody('step-reported', event, body)) {
    return { type: 'step-reported', body: reportFacts(body) };
  }
  if (isBody('rotation-requested', event, body)) return { type: 'rotation-requested', body };
  if (isBody('healing-action-requested', event, body)) {
    return { type: 'healing-action-requested', body };
  }
  if (isBody('plan-approved', event, body)) return { type: 'plan-approved', body };
  if (isBody('execution-requested', event, body)) return { type: 'execution-requested', body };
  if (isBody('rollback-requested', event, body)) return { type: 'rollback-requested', body };
  if (isBody('recovery-requested', event, body)) return { type: 'recovery-requested', body };
  if (isBody('recovery-approved', event, body)) return { type: 'recovery-approved', body };
  return undefined;
}

/** Whether the event is of the type; its body has been checked against the type's schema. */
export function isBody<Name extends EventTypeName>(
  name: Name,
  { announced }: Announcing,
  body: unknown,
): body is EventBody<Name> {
  return isEventType(announced.type) && announced.type === name && body !== undefined;
}
