/**
 * The algorithm registry: what algorithms exist for this mesh, how large their keys are by their
 * standards, and how fast they were measured to be. Signed by operators, versions strictly rising.
 */

import { Type, type Static } from 'typebox';
import { Dated, signedDocument } from './document.ts';
import {
  AlgorithmName,
  IntegerRange,
  KebabName,
  List,
  MapOf,
  OneOf,
  StrictObject,
} from './primitives.ts';

const Milliseconds = Type.Number({ minimum: 0, maximum: 60_000 });

const AlgorithmEntry = StrictObject({
  name: AlgorithmName(),
  standard: AlgorithmName(),
  status: OneOf(['active', 'supported', 'deprecated']),
  /** NIST category, 1 to 5; 0 where no category is defined. */
  security_level: IntegerRange({ min: 0, max: 5 }),
  /**
   * Bits of work against the property that the algorithm is used for, at the least: without and with
   * a quantum computer. Each primitive states its own; an entry may leave them to its category.
   */
  classical_bits: Type.Optional(IntegerRange({ min: 0, max: 512 })),
  quantum_bits: Type.Optional(IntegerRange({ min: 0, max: 512 })),
  layers: List(IntegerRange({ min: 1, max: 8 }), { itemsMax: 8 }),
  fallback_for: Type.Optional(AlgorithmName()),
  use_case: Type.Optional(AlgorithmName()),
  components: Type.Optional(List(AlgorithmName(), { itemsMax: 4 })),
  combiner: Type.Optional(AlgorithmName()),
  /** Bytes, as the standard says. */
  key_sizes: Type.Optional(
    MapOf(IntegerRange({ min: 1, max: 100_000 }), { keyPattern: '^[a-z_]{1,32}$', entriesMax: 8 }),
  ),
  /** Measured on the machine that enrolled the algorithm. */
  performance: Type.Optional(
    Type.Record(Type.String({ pattern: '^[a-z_]{1,32}$' }), Milliseconds, { maxProperties: 8 }),
  ),
});
export type AlgorithmEntry = Static<typeof AlgorithmEntry>;

const Algorithms = List(AlgorithmEntry, { itemsMax: 32 });

export const RegistryBody = StrictObject({
  kind: Type.Literal('registry'),
  mesh: KebabName(),
  ...Dated,
  algorithms: StrictObject({
    kem: Algorithms,
    signature: Algorithms,
    hybrid: Algorithms,
    symmetric: Algorithms,
    hash: Algorithms,
    mac: Algorithms,
  }),
});
export type RegistryBody = Static<typeof RegistryBody>;
export const RegistryDocument = signedDocument(RegistryBody);
export type RegistryDocument = Static<typeof RegistryDocument>;
