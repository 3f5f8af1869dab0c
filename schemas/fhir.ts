/**
 * Health resources in the shape of HL7 FHIR R4: the parts of Patient, Observation and Consent that
 * layer 6 keeps, with the names that FHIR gives them. Fields that are not named here are refused, so
 * that nothing is kept that no rule has looked at.
 */

import { IntegerRange, List, OneOf, StrictObject, Text, Type, type Static } from './primitives.ts';

/** FHIR's `id`: letters, digits, `-` and `.`, at most 64. */
export const FHIR_ID_PATTERN = '^[A-Za-z0-9.-]{1,64}$';

function FhirId() {
  return Type.String({ pattern: FHIR_ID_PATTERN, maxLength: 64 });
}

function Reference(type: string) {
  return StrictObject({
    reference: Type.String({ pattern: `^${type}/[A-Za-z0-9.-]{1,64}$`, maxLength: 96 }),
  });
}

/** `2026-11-22` or `2026-11-22T05:30:00Z`. */
function FhirDate() {
  return Type.String({
    pattern: '^\\d{4}-\\d{2}-\\d{2}(T\\d{2}:\\d{2}:\\d{2}(\\.\\d{1,3})?Z)?$',
    maxLength: 24,
  });
}

const CodeableConcept = StrictObject({
  coding: Type.Optional(
    List(StrictObject({ system: Text(256), code: Text(64), display: Type.Optional(Text(256)) }), {
      itemsMax: 8,
    }),
  ),
  text: Type.Optional(Text(512)),
});

export const Patient = StrictObject({
  resourceType: Type.Literal('Patient'),
  id: FhirId(),
  identifier: Type.Optional(
    List(StrictObject({ system: Text(256), value: Text(128) }), { itemsMax: 8 }),
  ),
  name: Type.Optional(
    List(
      StrictObject({
        family: Type.Optional(Text(128)),
        given: Type.Optional(List(Text(128), { itemsMax: 8 })),
        text: Type.Optional(Text(256)),
      }),
      { itemsMax: 4 },
    ),
  ),
  gender: Type.Optional(OneOf(['male', 'female', 'other', 'unknown'])),
  birthDate: Type.Optional(FhirDate()),
});
export type Patient = Static<typeof Patient>;

export const Observation = StrictObject({
  resourceType: Type.Literal('Observation'),
  id: FhirId(),
  status: OneOf(['registered', 'preliminary', 'final', 'amended', 'cancelled']),
  code: CodeableConcept,
  subject: Reference('Patient'),
  effectiveDateTime: Type.Optional(FhirDate()),
  valueQuantity: Type.Optional(
    StrictObject({ value: Type.Number(), unit: Text(64), system: Type.Optional(Text(256)) }),
  ),
  valueString: Type.Optional(Text(4_096)),
});
export type Observation = Static<typeof Observation>;

export const consentActions = ['read', 'write'] as const;
export type ConsentAction = (typeof consentActions)[number];

export const Consent = StrictObject({
  resourceType: Type.Literal('Consent'),
  id: FhirId(),
  /** `inactive`: withdrawn. */
  status: OneOf(['active', 'inactive']),
  patient: Reference('Patient'),
  dateTime: Type.Optional(FhirDate()),
  provision: StrictObject({
    type: OneOf(['permit', 'deny']),
    /** Subjects of capabilities, as layer 1 knows them. */
    actor: List(Text(256), { itemsMin: 1, itemsMax: 32 }),
    action: List(OneOf(consentActions), { itemsMin: 1, itemsMax: 2 }),
    /** Types of resources; every type where it is absent. */
    class: Type.Optional(List(OneOf(['Patient', 'Observation']), { itemsMin: 1, itemsMax: 2 })),
    /** In milliseconds since 1970, both ends included. */
    period: Type.Optional(
      StrictObject({
        startMs: IntegerRange({ min: 0, max: Number.MAX_SAFE_INTEGER }),
        endMs: IntegerRange({ min: 0, max: Number.MAX_SAFE_INTEGER }),
      }),
    ),
  }),
});
export type Consent = Static<typeof Consent>;

export const resourceTypes = ['Patient', 'Observation', 'Consent'] as const;
export type ResourceType = (typeof resourceTypes)[number];
export type HealthResource = Patient | Observation | Consent;
