/**
 * A thief at the bus, who has no key of anybody: what he replays, tampers with and makes up comes out of
 * streams as if it had been published, and as questions to those who answer. None of it may have an effect
 * (invariant 12); it takes room in the streams and the sequences of others, as a bus that lies may.
 *
 * Beside them, what somebody does who has the keys of an enrolled agent, and may have been revoked.
 */

import { frameValidator, headerValidator, protocolVersion, suiteId } from '#schemas/frame.ts';
import type { Frame, Header } from '#schemas/frame.ts';
import { BusError, type BusMessage, type StreamName } from '#shared/bus/bus.ts';
import { streamOf } from '#shared/bus/subjects.ts';
import { noticesChannel } from '#shared/core/channels.ts';
import { concat, toHex } from '#shared/crypto/bytes.ts';
import { decodeCanonical, encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import type { SigningKey } from '#shared/crypto/key-handle.ts';
import { noticesEpoch, noticesSecret } from '#shared/crypto/keyring.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { encryptFrame, frameBytes } from '#shared/crypto/sealed-frame.ts';
import type { SealedEvent } from '#shared/runtime/exchange.ts';
import type { Draws, Trace } from './model.ts';
import type { SimulatedNetwork } from './network.ts';

export interface ThiefPorts {
  readonly network: SimulatedNetwork;
  readonly draws: Draws;
  readonly trace: Trace;
  /** For hashes and for keys of his own. */
  readonly crypto: CryptoProvider;
}

/** What is on a stream, or would be. */
interface Planted {
  readonly stream: StreamName;
  readonly subject: string;
  readonly data: Uint8Array;
  /** Of another message, where the bus lies about it. */
  readonly messageId?: string;
}

export interface WireAttack {
  readonly name: string;
  /** Whether there was something to attack with. */
  apply(ports: ThiefPorts): boolean;
}

const streams = ['GYRE_CONTROL', 'GYRE_AUDIT', 'GYRE_BULK'] as const;
const garbageBytesMax = 2_000;
const looksMax = 8;
const parts = ['header', 'commitment', 'ciphertext', 'digest', 'seal'] as const;

export const wireAttacks: readonly WireAttack[] = [
  onStored('replay', (stolen) => stolen),
  onStored('replay of the oldest', (stolen, { network }) => {
    const { firstSequence } = network.broker.stream(stolen.stream).state();
    return { ...stolen, ...network.broker.stream(stolen.stream).get(firstSequence) };
  }),
  onStored('replay under its own message id', (stolen) => ({ ...stolen, messageId: stolen.id })),
  onStored('replay on another subject', (stolen, ports) => {
    const other = stolenFrom(ports, stolen.stream);
    return { ...stolen, subject: other?.subject ?? stolen.subject };
  }),
  onStored('a bit flipped', (stolen, { draws }) => ({
    ...stolen,
    data: withBitFlipped(stolen.data, draws),
  })),
  onStored('a part changed', (stolen, { draws }) =>
    reframed(stolen, (frame) => {
      const part = draws.pick(parts);
      return { ...frame, [part]: withBitFlipped(frame[part], draws) };
    }),
  ),
  onStored('cut off', (stolen, { draws }) => ({
    ...stolen,
    data: stolen.data.slice(0, draws.between(0, Math.max(0, stolen.data.length - 1))),
  })),
  onStored('garbage', (stolen, { draws }) => ({
    ...stolen,
    data: draws.bytes(draws.between(1, garbageBytesMax)),
  })),
  onStored('empty', (stolen) => ({ ...stolen, data: new Uint8Array() })),
  onStored('another channel', (stolen, { draws }) =>
    reheaded(stolen, (header) => ({
      ...header,
      channel: draws.pick(['saga', 'mesh', 'operators', 'layer-1', noticesChannel]),
    })),
  ),
  onStored('another sender', (stolen, ports) => {
    const other = headerOf(stolenFrom(ports, stolen.stream)?.data)?.sender;
    return other === undefined
      ? undefined
      : reheaded(stolen, (header) => ({ ...header, sender: other }));
  }),
  onStored('a later counter', (stolen) =>
    reheaded(stolen, (header) => ({ ...header, counter: header.counter + 1 })),
  ),
  onStored('without a signature', (stolen) =>
    reframed(stolen, (frame) => ({ ...frame, seal: new Uint8Array(frame.seal.length) })),
  ),
  onStored('a key of his own', (stolen, ports) => {
    const header = headerOf(stolen.data);
    if (header === undefined) return undefined;
    const signingKey = ports.crypto.importSigningSeed(ports.draws.bytes(32));
    return { ...stolen, data: poisonFrame(ports, { header, signingKey }) };
  }),
  onOverheard('a question again', (data) => data),
  onOverheard('a question with a bit flipped', (data, { draws }) => withBitFlipped(data, draws)),
  onOverheard('garbage for a question', (_, { draws }) =>
    draws.bytes(draws.between(1, garbageBytesMax)),
  ),
  {
    name: 'an event for a question',
    apply: (ports) => {
      const stolen = stolenFromAny(ports);
      const asked = ports.network.overheard();
      if (stolen === undefined || asked.length === 0) return false;
      ask(ports, ports.draws.pick(asked).subject, stolen.data);
      return true;
    },
  },
];

/** One of them, drawn; those for which there is nothing to steal yet are passed over. */
export function attack(ports: ThiefPorts): string | undefined {
  for (const one of ports.draws.shuffled(wireAttacks)) {
    if (one.apply(ports)) return one.name;
  }
  return undefined;
}

/**
 * A frame whose structure holds and whose body is none, under the secret that anyone can derive, or under
 * `channelSecret`. With an enrolled agent's key it is authentic: BODY_MALFORMED; else SIGNATURE_INVALID.
 */
export function poisonFrame(
  { crypto, draws, network }: Pick<ThiefPorts, 'crypto' | 'draws' | 'network'>,
  choices: {
    readonly header: Header;
    readonly signingKey: SigningKey;
    readonly channelSecret?: Uint8Array;
  },
): Uint8Array {
  const { signingKey, channelSecret } = choices;
  const isPublic = channelSecret === undefined;
  const header: Header = {
    ...choices.header,
    version: protocolVersion,
    suite: suiteId,
    lane: 'control',
    senderKeyId: signingKey.publicKey.keyId,
    ...(isPublic ? { channel: noticesChannel, audience: noticesChannel, epoch: noticesEpoch } : {}),
  };
  // 0xc1 begins nothing in MessagePack.
  const plaintext = concat(draws.bytes(32), Uint8Array.of(0xc1), draws.bytes(40));
  const digest = crypto.blake3(plaintext);
  const frame = encryptFrame(crypto, {
    header,
    signingKey,
    channelSecret: channelSecret ?? noticesSecret(crypto, network.broker.mesh).secret,
    plaintext,
    digest,
    label: 'event',
  });
  return frameBytes(frame, crypto.sign(signingKey, frame.toSign));
}

/**
 * Puts on its stream what somebody sealed with an agent's keys (`Principal.seal`): what a revoked agent
 * sends over a bus that still lets it in.
 */
export function smuggle(ports: Pick<ThiefPorts, 'network' | 'trace'>, sealed: SealedEvent): void {
  const { subject, frame: data, hash: messageId } = sealed;
  const stream = streamOf(ports.network.subjects, subject);
  if (stream === null) throw new Error(`no stream stores ${subject}`);
  plant({ ...ports, token: messageId }, 'smuggled', { stream, subject, data, messageId });
}

interface Stolen extends Planted {
  readonly id: string;
}

function onStored(
  name: string,
  make: (stolen: Stolen, ports: ThiefPorts) => Planted | undefined,
): WireAttack {
  return {
    name,
    apply: (ports) => {
      const stolen = stolenFromAny(ports);
      const planted = stolen === undefined ? undefined : make(stolen, ports);
      if (planted === undefined) return false;
      plant({ ...ports, token: toHex(ports.draws.bytes(16)) }, name, planted);
      return true;
    },
  };
}

function onOverheard(
  name: string,
  make: (data: Uint8Array, ports: ThiefPorts) => Uint8Array,
): WireAttack {
  return {
    name,
    apply: (ports) => {
      const heard = ports.network.overheard();
      if (heard.length === 0) return false;
      const { subject, data } = ports.draws.pick(heard);
      ask(ports, subject, make(data, ports));
      return true;
    },
  };
}

function stolenFromAny(ports: ThiefPorts): Stolen | undefined {
  const { broker } = ports.network;
  const filled = streams.filter((name) => broker.stream(name).state().messages > 0);
  return filled.length === 0 ? undefined : stolenFrom(ports, ports.draws.pick(filled));
}

/** A message of the stream, or undefined when there is none. */
function stolenFrom({ network, draws }: ThiefPorts, name: StreamName): Stolen | undefined {
  const stream = network.broker.stream(name);
  const { firstSequence, lastSequence, messages } = stream.state();
  for (let look = 0; messages > 0 && look < looksMax; look += 1) {
    const found: BusMessage | null = stream.get(draws.between(firstSequence, lastSequence));
    if (found === null) continue;
    const { subject, data, messageId: id } = found;
    return { stream: name, subject, data, id };
  }
  return undefined;
}

function plant(
  { network, trace, token }: Pick<ThiefPorts, 'network' | 'trace'> & { readonly token: string },
  name: string,
  { stream, subject, data, messageId }: Planted,
): void {
  const request = { subject, data, messageId: messageId ?? token };
  trace.note('attack', { name, subject, bytes: data.length });
  if (!network.broker.up.open) return;
  try {
    // Readers see the id before the dot; the server takes the whole for another message.
    network.broker.store(
      stream,
      request,
      messageId === undefined ? token : `${messageId}.${token}`,
    );
  } catch (error) {
    if (!(error instanceof BusError)) throw error;
  }
}

/** Nobody waits for the answer. */
function ask({ network, trace }: ThiefPorts, subject: string, data: Uint8Array): void {
  trace.note('attack', { name: 'question', subject, bytes: data.length });
  if (!network.broker.up.open) return;
  try {
    void network.broker.ask(subject, data);
  } catch (error) {
    if (!(error instanceof BusError)) throw error;
  }
}

function withBitFlipped(bytes: Uint8Array, draws: Draws): Uint8Array {
  const changed = bytes.slice();
  if (changed.length === 0) return changed;
  const at = draws.between(0, changed.length - 1);
  changed[at] = (changed[at] ?? 0) ^ (1 << draws.between(0, 7));
  return changed;
}

function reframed(stolen: Stolen, change: (frame: Frame) => Frame): Planted | undefined {
  const frame = frameOf(stolen.data);
  return frame === undefined ? undefined : { ...stolen, data: encodeCanonical(change(frame)) };
}

function reheaded(stolen: Stolen, change: (header: Header) => Header): Planted | undefined {
  const header = headerOf(stolen.data);
  if (header === undefined) return undefined;
  return reframed(stolen, (frame) => ({ ...frame, header: encodeCanonical(change(header)) }));
}

function frameOf(data: Uint8Array): Frame | undefined {
  const decoded = decodeCanonical(data);
  return decoded.ok && frameValidator.check(decoded.value) ? decoded.value : undefined;
}

function headerOf(data: Uint8Array | undefined): Header | undefined {
  const frame = data === undefined ? undefined : frameOf(data);
  const decoded = frame === undefined ? undefined : decodeCanonical(frame.header);
  if (decoded === undefined || !decoded.ok) return undefined;
  return headerValidator.check(decoded.value) ? decoded.value : undefined;
}
