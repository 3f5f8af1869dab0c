/**
 * A history told to the checkers of the simulator: its leaves as messages and as leaves, and the phases
 * that were recorded as the auditor's receipts named them. What lay in agents' stores is not in it.
 */

import type { EventBody } from '#schemas/events.ts';
import { decodeBody } from '#shared/crypto/audit-event.ts';
import { concat, toHex } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { documentDigest } from '#shared/crypto/signed-document.ts';
import { parseHeader, statementOf } from '#shared/crypto/statement.ts';
import type { ObservedMessage } from '../sim/observation.ts';
import { Observer } from '../sim/observer.ts';
import { Checks } from '../sim/checks/all.ts';
import type { History, HistoryLeaf } from './history.ts';

export function checksOver(crypto: CryptoProvider, history: History): Checks {
  const { bundle, leaves, checkpoint } = history;
  let nowMs = 0;
  const observer = new Observer({
    agents: bundle.enrolments.map(({ body }) => ({
      agentId: body.agent_id,
      kind: body.agent_kind,
      layer: body.layer,
      capabilities: body.capabilities,
    })),
    policies: new Map([[documentDigest(crypto, bundle.policy.body), bundle.policy.body]]),
    digest: (bytes) => toHex(crypto.sha3_256(bytes)),
    nowMs: () => nowMs,
  });
  const checks = new Checks(observer);
  observer.onChange((change) => checks.after(change));
  const phases = new Map(
    history.outcomes.map(({ sagaId, index, phase }) => [`${sagaId} ${index}`, phase]),
  );
  for (const [leafIndex, leaf] of leaves.entries()) {
    const message = messageOf(crypto, leaf, { leafIndex, nowMs });
    nowMs = Math.max(nowMs, message.timeMs);
    observer.stored(message);
    const { hash, sequence } = message;
    observer.leaf(checkpoint.body.auditor, { leafIndex, hash, verdict: leaf.verdict, sequence });
    const receipt = receiptOf(message, { leafIndex, phases, auditor: checkpoint.body.auditor });
    if (receipt !== undefined) observer.stored(receipt);
  }
  return checks;
}

/** What is kept only as a hash goes by that name. */
function messageOf(
  crypto: CryptoProvider,
  { leafHash, shown }: HistoryLeaf,
  { leafIndex, nowMs }: { readonly leafIndex: number; readonly nowMs: number },
): ObservedMessage {
  const place = { stream: 'GYRE_CONTROL' as const, sequence: leafIndex + 1, authentic: true };
  if (shown === undefined) {
    const hash = toHex(leafHash);
    const nothing = { header: undefined, body: undefined, plaintext: undefined };
    const names = { messageId: hash, hash, subject: '', sender: '', type: '' };
    return { ...place, ...nothing, ...names, data: leafHash, timeMs: nowMs };
  }
  const parsed = parseHeader(shown.header);
  if (!parsed.ok) throw new Error(`leaf ${leafIndex} has no header: ${parsed.code}`);
  const { header } = parsed;
  const plaintext = concat(shown.salt, shown.body);
  const digest = crypto.blake3(plaintext);
  const hash = toHex(crypto.blake3(statementOf(crypto, { ...shown, digest })));
  const { subject, sender, type, timeMs } = header;
  const content = { header, body: decodeBody(shown.body), plaintext, data: shown.header };
  return { ...place, ...content, messageId: hash, hash, subject, sender, type, timeMs };
}

function receiptOf(
  message: ObservedMessage,
  about: {
    readonly leafIndex: number;
    readonly phases: ReadonlyMap<string, string>;
    readonly auditor: string;
  },
): ObservedMessage | undefined {
  if (message.type !== 'saga-entry') return undefined;
  const { sagaId, index: sagaIndex } = message.body as EventBody<'saga-entry'>;
  const phase = about.phases.get(`${sagaId} ${sagaIndex}`);
  if (phase === undefined) return undefined;
  const { leafIndex, auditor: sender } = about;
  const entry = { statementHash: message.hash, leafIndex, verdict: 'accepted' };
  return {
    ...message,
    stream: 'GYRE_AUDIT',
    hash: `receipt of ${message.hash}`,
    header: undefined,
    sender,
    type: 'receipts-issued',
    subject: 'audit.verdict',
    body: { treeSize: leafIndex + 1, entries: [{ ...entry, sagaId, sagaIndex, phase }] },
  };
}
