/** A negotiation as text: what was selected, from what, and the hashes that stand for it. Pure. */
import { negotiatedKinds } from '#schemas/negotiation.ts';
import { fingerprint, table, words, type Style } from '../style.ts';
import type { Recomputation } from './actions.ts';
import { constraintsText } from './arguments.ts';
import {
  transcriptFields,
  type NegotiationEventResult,
  type NegotiationResult,
  type NegotiationSideResult,
} from './result.ts';

const labels = {
  clientCapabilitiesHash: 'client',
  serverCapabilitiesHash: 'server',
  policyHash: 'policy',
  negotiationHash: 'negotiation',
} as const;

const verbs: Readonly<Record<string, string>> = {
  'negotiation-opened': 'opened the negotiation',
  'algorithms-advertised': 'advertised its algorithms',
  'negotiation-confirmed': 'confirmed',
  'negotiation-failed': 'ended it',
};

/** One line of progress. */
export function eventLine({ type, sender }: NegotiationEventResult): string {
  return `${sender} ${verbs[type] ?? type}`;
}

export function renderNegotiation(result: NegotiationResult, style: Style): string {
  const { negotiationId, phase, client, server, selected, transcript, failure } = result;
  const state = phase === 'agreed' ? style.good(phase) : style.failed(words(phase));
  const algorithms =
    selected === undefined
      ? []
      : [
          table(
            negotiatedKinds.map((kind) => [kind, selected[kind]]),
            2,
          ),
        ];
  return [
    `${negotiationId}: ${client.agentId} and ${server.agentId}: ${state}`,
    ...(failure === undefined
      ? []
      : [`  ${style.failed(failure.code)} ${failure.reason} (${failure.by})`]),
    ...algorithms,
    ...constraintLines(result, style),
    ...(transcript === undefined
      ? []
      : [
          style.dim('transcript, SHA3-512'),
          table(
            transcriptFields.flatMap((field) => halves(labels[field], transcript[field])),
            2,
          ),
        ]),
    style.dim('events'),
    table(
      result.events.map(({ type, sender, hash }) => [type, sender, fingerprint(hash)]),
      2,
    ),
    ...withoutEffectLines(result, style),
  ].join('\n');
}

export function renderRecomputation(recomputation: Recomputation, style: Style): string {
  const { ok, reason, negotiation, negotiationId, audit } = recomputation;
  const head = ok
    ? style.good('computed again from the audit, with the same result')
    : style.failed(`does not follow from the audit: ${reason ?? 'no reason given'}`);
  return [
    `${negotiationId}: ${head}`,
    `  ${audit.records} records, root ${audit.rootDigest}`,
    ...(negotiation === undefined ? [] : [renderNegotiation(negotiation, style)]),
  ].join('\n');
}

function constraintLines({ client, server, constraints }: NegotiationResult, style: Style) {
  const line = (who: string, limits: NegotiationSideResult['constraints'] = {}): string[] => {
    const text = constraintsText(limits);
    return text === '' ? [] : [`  ${who}: ${text}`];
  };
  const lines = [
    ...line('operator', constraints),
    ...line(client.agentId, client.constraints),
    ...line(server.agentId, server.constraints),
  ];
  return lines.length === 0 ? [] : [style.dim('constraints'), ...lines];
}

/** A hash of 64 bytes on two lines: one is wider than most terminals. */
function halves(label: string, hash: string): string[][] {
  const middle = hash.length / 2;
  return [
    [label, hash.slice(0, middle)],
    ['', hash.slice(middle)],
  ];
}

function withoutEffectLines({ withoutEffect }: NegotiationResult, style: Style): string[] {
  return withoutEffect.map(({ senderId, code, reason, hash }) =>
    style.warning(`  without effect: ${senderId}, ${code} ${reason} (${fingerprint(hash)})`),
  );
}
