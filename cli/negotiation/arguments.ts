/** What `gyre negotiate` takes: agents, constraints, ids. */
import { AGENT_ID_PATTERN, IDENTIFIER_PATTERN } from '#schemas/primitives.ts';
import type { NegotiationConstraints } from '#schemas/negotiation.ts';
import { parseWhole } from '../context.ts';
import { usageFault } from '../fault.ts';

/** By their names on the command line. */
const constraintsByName = {
  'max-signature-bytes': { field: 'maxSignatureBytes', max: 1_000_000 },
  'max-public-key-bytes': { field: 'maxPublicKeyBytes', max: 1_000_000 },
  'max-handshake-ms': { field: 'maxHandshakeMs', max: 600_000 },
} as const;
type ConstraintName = keyof typeof constraintsByName;

export const constraintNames = Object.keys(constraintsByName) as readonly ConstraintName[];

/** `name=value` each; a constraint is given once. */
export function parseConstraints(texts: readonly string[]): NegotiationConstraints {
  const constraints: NegotiationConstraints = {};
  for (const text of texts) {
    const [name = '', value, ...more] = text.split('=');
    if (!isConstraintName(name) || value === undefined || more.length > 0) {
      throw usageFault(
        `"${text.slice(0, 60)}" is no constraint`,
        `Write one of ${constraintNames.join(', ')} with its value: ${constraintNames[0]}=5000.`,
      );
    }
    const { field, max } = constraintsByName[name];
    if (constraints[field] !== undefined) {
      throw usageFault(`${name} is given twice`, 'Write each constraint once.');
    }
    constraints[field] = parseWhole(value, { name: `--constraint ${name}`, min: 1, max });
  }
  return constraints;
}

/** Constraints as they are typed: `max-signature-bytes=5000`. */
export function constraintsText(constraints: NegotiationConstraints): string {
  return constraintNames
    .flatMap((name) => {
      const value = constraints[constraintsByName[name].field];
      return value === undefined ? [] : [`${name}=${value}`];
    })
    .join(', ');
}

export function parseAgentId(text: string): string {
  if (new RegExp(AGENT_ID_PATTERN).test(text)) return text;
  throw usageFault(
    `"${text.slice(0, 60)}" is not the name of an agent`,
    'See which there are: gyre capabilities.',
  );
}

export function parseNegotiationId(text: string): string {
  if (new RegExp(IDENTIFIER_PATTERN).test(text)) return text;
  throw usageFault(
    `"${text.slice(0, 60)}" is not the id of a negotiation`,
    'Write it as gyre negotiate printed it.',
  );
}

function isConstraintName(name: string): name is ConstraintName {
  return Object.hasOwn(constraintsByName, name);
}
