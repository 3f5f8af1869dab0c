/**
 * A layer agent of another version than its peers: it seals its reports and advertisements in a schema
 * version that nobody else knows, may not know the one that commands have by now, and its adapter shows
 * another fingerprint. (The first schema version is 1, so that the previous one is played by the next:
 * what counts is that the two sides do not know each other's.) Nothing that it says so may have an
 * effect; and once it runs in the present version, with what it left in its outbox, everything goes on.
 */

import { eventTypes, type EventTypeName } from '#schemas/events.ts';
import { fromHex, toHex } from '#shared/crypto/bytes.ts';
import type { SigningKey } from '#shared/crypto/key-handle.ts';
import { SenderChain } from '#shared/crypto/sender-chain.ts';
import type { Exchange, Opening, OutgoingEvent, SealedEvent } from '#shared/runtime/exchange.ts';
import type { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import type { BusMessage } from '#shared/bus/bus.ts';
import type { Booted } from '../support/mesh-agents.ts';

/** What such an agent differs in, beside what it says. */
export interface OtherVersion {
  /** Else it does not know the schema of commands either. */
  readonly knowsCommands: boolean;
}

interface Options {
  readonly signingKey: SigningKey;
  readonly version: OtherVersion;
  /** Statement hash of what nobody else understands. */
  readonly onSealed: (hash: string) => void;
}

/** Types whose schema is another. */
const changed: ReadonlySet<EventTypeName> = new Set(['step-reported', 'capability-advertised']);
const otherSchema = 2;

export function inOtherVersion(booted: Booted, options: Options): Booted {
  const { exchange } = booted;
  let chain = newChain(booted, options);
  const other: Pick<Exchange, 'seal' | 'renew' | 'open'> = {
    seal: (event) => {
      if (!changed.has(event.type)) return exchange.seal(event);
      const sealed = sealedIn(chain, booted, event);
      options.onSealed(sealed.hash);
      return sealed;
    },
    renew: () => {
      exchange.renew();
      chain = newChain(booted, options);
    },
    open: (message: BusMessage): Opening => {
      const opening = exchange.open(message);
      const isUnknown = opening.status !== 'refused' && opening.event.type === 'step-commanded';
      return isUnknown && !options.version.knowsCommands
        ? { status: 'refused', code: 'VERSION_UNKNOWN' }
        : opening;
    },
  };
  // Everything else is the exchange's own, and is asked of it.
  const both = new Proxy(exchange, {
    get: (target, name) => {
      const found: unknown = Reflect.get(name in other ? other : target, name);
      return typeof found === 'function' ? (found.bind(target) as unknown) : found;
    },
  });
  return { ...booted, exchange: both };
}

/** Another code has another fingerprint: a plan that was made from one does not hold under the other. */
export function withOtherFingerprint(adapter: EmbeddedAdapter): void {
  const own = adapter.fingerprint();
  const fingerprint = own.slice(1) + own.slice(0, 1);
  adapter.fingerprint = () => fingerprint;
}

function newChain({ agentId, crypto, keyring }: Booted, { signingKey }: Options): SenderChain {
  return new SenderChain({ crypto, sender: agentId, signingKey, keyring });
}

function sealedIn<Name extends EventTypeName>(
  chain: SenderChain,
  { trust, clock, crypto }: Booted,
  event: OutgoingEvent<Name>,
): SealedEvent {
  const { lane, validMs } = eventTypes[event.type];
  const timeMs = clock.nowMs();
  const pending = chain.seal({
    lane,
    audience: event.audience ?? event.channel,
    subject: event.subject,
    channel: event.channel,
    registryVersion: trust.registry.version,
    registryDigest: digestBytes(trust.registryDigest),
    policyVersion: trust.policy.version,
    policyDigest: digestBytes(trust.policyDigest),
    type: event.type,
    schemaVersion: otherSchema,
    timeMs,
    expiresMs: timeMs + validMs,
    eventId: toHex(crypto.randomBytes(16)),
    body: event.body,
  });
  pending.accepted();
  const { messageId: hash, frame, disclosure } = pending;
  return { hash, subject: event.subject, frame, disclosure };
}

function digestBytes(hex: string): Uint8Array {
  const bytes = fromHex(hex);
  if (bytes === undefined) throw new Error('a digest is hexadecimal');
  return bytes;
}
