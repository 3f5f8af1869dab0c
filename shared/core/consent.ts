/**
 * Whether somebody may touch a patient's data: a function of the consents that the patient has given,
 * who acts, how, on what, and when. The patient himself may always; everybody else needs a consent
 * that is in force and names him, and one that denies goes before all that permit.
 */

import type { Consent, ConsentAction } from '#schemas/fhir.ts';

export interface Access {
  /** The patient whose data it is. */
  readonly patientId: string;
  /** Who acts: the subject of the capability. */
  readonly actor: string;
  readonly action: ConsentAction;
  readonly resourceType: 'Patient' | 'Observation';
  readonly atMs: number;
}

export type ConsentRefusal =
  | 'CONSENT_MISSING'
  | 'CONSENT_DENIED'
  /** There was one, and the patient took it back. */
  | 'CONSENT_WITHDRAWN'
  /** There is one, for another time. */
  | 'CONSENT_EXPIRED';

export type ConsentDecision =
  { readonly allowed: true } | { readonly allowed: false; readonly code: ConsentRefusal };

/** `consents`: those of the patient whose signatures hold; of others' patients none counts. */
export function decideAccess(consents: readonly Consent[], access: Access): ConsentDecision {
  if (access.actor === access.patientId) return { allowed: true };
  const named = consents.filter((consent) => names(consent, access));
  const active = named.filter(({ status }) => status === 'active');
  const inForce = active.filter((consent) => isInTime(consent, access.atMs));
  if (inForce.some(({ provision }) => provision.type === 'deny')) return refused('CONSENT_DENIED');
  if (inForce.length > 0) return { allowed: true };
  const permits = (some: readonly Consent[]): boolean =>
    some.some(({ provision }) => provision.type === 'permit');
  if (permits(active)) return refused('CONSENT_EXPIRED');
  return refused(permits(named) ? 'CONSENT_WITHDRAWN' : 'CONSENT_MISSING');
}

function names({ patient, provision }: Consent, access: Access): boolean {
  return (
    patient.reference === `Patient/${access.patientId}` &&
    provision.actor.includes(access.actor) &&
    provision.action.includes(access.action) &&
    (provision.class?.includes(access.resourceType) ?? true)
  );
}

function isInTime({ provision: { period } }: Consent, atMs: number): boolean {
  return period === undefined || (period.startMs <= atMs && atMs <= period.endMs);
}

function refused(code: ConsentRefusal): ConsentDecision {
  return { allowed: false, code };
}
