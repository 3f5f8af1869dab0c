/**
 * Checks events that somebody else received: who said it, that the sender was entitled to, and that
 * the body is what was said. A signature that held once is not checked again in this process.
 */

import type { RefusalCode } from '#schemas/errors.ts';
import { eventTypes, isEventType } from '#schemas/events.ts';
import type { Disclosure, Header } from '#schemas/frame.ts';
import type { AgentKind } from '#schemas/trust.ts';
import type { VerifiedEvent } from '#shared/core/step-evidence.ts';
import { BoundedMap } from './bounded-map.ts';
import { concat, toHex } from './bytes.ts';
import { decodeCanonical } from './canonical-msgpack.ts';
import type { Enrolled } from './enrolments.ts';
import { parseDisclosure, verifyDisclosure } from './envelope.ts';
import type { CryptoProvider } from './provider.ts';

/** Disclosures whose signatures need not be checked again: 4 MiB of names. */
const disclosuresMax = 16_384;

export type EvidenceOpening =
  | { readonly status: 'ok'; readonly event: VerifiedEvent }
  | { readonly status: 'refused'; readonly code: RefusalCode };

type Opened =
  | { readonly ok: true; readonly messageId: string; readonly body: unknown }
  | { readonly ok: false; readonly code: RefusalCode };

/** By whose word, and with which tolerance. */
export interface EvidenceRules {
  readonly agent: (agentId: string) => Enrolled | undefined;
  readonly skewMs: number;
}

export class EvidenceCheck {
  readonly #crypto: CryptoProvider;
  /** Hash of the event, by key and by what was disclosed. */
  readonly #held = new BoundedMap<string>(disclosuresMax);

  constructor(crypto: CryptoProvider) {
    this.#crypto = crypto;
  }

  verify(disclosure: Disclosure, { agent, skewMs }: EvidenceRules): EvidenceOpening {
    const parsed = parseDisclosure(disclosure);
    if (!parsed.ok) return refused(parsed.code);
    const { header } = parsed;
    const sender = agent(header.sender);
    if (sender === undefined) return refused('SENDER_UNKNOWN');
    const opened = this.#open(parsed, sender);
    if (!opened.ok) return refused(opened.code);
    if (!isEventType(header.type)) return refused('TYPE_UNKNOWN');
    const type = eventTypes[header.type];
    if (!(type.senders as readonly AgentKind[]).includes(sender.kind)) {
      return refused('SENDER_NOT_ENTITLED');
    }
    if (header.timeMs < sender.issuedAtMs - skewMs || header.timeMs > sender.expiresAtMs) {
      return refused('SENDER_EXPIRED');
    }
    if (header.timeMs >= (sender.revokedAtMs ?? Infinity)) return refused('SENDER_REVOKED');
    if (!type.body.check(opened.body)) return refused('BODY_MALFORMED');
    const event = {
      hash: opened.messageId,
      senderId: sender.agentId,
      senderKind: sender.kind,
      ...(sender.layer === undefined ? {} : { senderLayer: sender.layer }),
      senderCapabilities: sender.capabilities,
      type: header.type,
      body: opened.body,
      timeMs: header.timeMs,
    } as VerifiedEvent;
    return { status: 'ok', event };
  }

  /** As `verifyDisclosure`. */
  #open(
    { header, parts }: { readonly header: Header; readonly parts: Disclosure },
    { verifyKey, keyId }: Enrolled,
  ): Opened {
    const { ciphertextHash, commitment, seal, salt, body } = parts;
    // All but the last two have a fixed length, and a header says where it ends.
    const shown = concat(ciphertextHash, commitment, seal, salt, parts.header, body);
    const name = `${keyId} ${toHex(this.#crypto.sha256(shown))}`;
    const messageId = this.#held.get(name);
    if (messageId === undefined || toHex(header.senderKeyId) !== keyId) {
      const opened = verifyDisclosure(this.#crypto, parts, verifyKey);
      if (opened.ok) this.#held.set(name, opened.messageId);
      return opened;
    }
    const decoded = decodeCanonical(body, { floats: true });
    return decoded.ok
      ? { ok: true, messageId, body: decoded.value }
      : { ok: false, code: 'BODY_MALFORMED' };
  }
}

function refused(code: RefusalCode): EvidenceOpening {
  return { status: 'refused', code };
}
