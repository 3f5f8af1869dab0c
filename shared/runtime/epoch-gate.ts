/**
 * The bus as a member of channels sees it: an authentic event under an epoch that this member lacks, and
 * that is not over, is handed on once the secret was fetched, or after a bounded wait. So nobody who
 * receives has to know that epochs change; what is not authentic is never waited for.
 */

import { BusError, type Bus, type BusMessage } from '#shared/bus/bus.ts';
import { forwardingTo } from '#shared/bus/forwarding-bus.ts';
import { channelsOf } from '#shared/core/channels.ts';
import { parseFrame, verifyFrame } from '#shared/crypto/envelope.ts';
import type { EpochKeyring } from '#shared/crypto/epoch-keyring.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { EpochMember } from './epoch-member.ts';

export interface GatePorts {
  readonly crypto: CryptoProvider;
  readonly trust: TrustView;
  readonly keyring: EpochKeyring;
  readonly epochs: Pick<EpochMember, 'whenReadable' | 'unanswered'>;
}

/** `bus`, with everything that is received held until it can be opened, or cannot. */
export function gatedBus(bus: Bus, ports: GatePorts): Bus {
  const gate = (data: Uint8Array): Promise<void> | undefined => gated(data, ports);
  const behindGate =
    <Result>(handler: (message: BusMessage) => Result) =>
    async (message: BusMessage): Promise<Awaited<Result>> => {
      await gate(message.data);
      return await handler(message);
    };
  return {
    ...forwardingTo(bus),
    consume: (options, handler) => bus.consume(options, behindGate(handler)),
    follow: (options, handler) => bus.follow(options, behindGate(handler)),
    request: async (subject, data, timeoutMs) => {
      try {
        const reply = await bus.request(subject, data, timeoutMs);
        await gate(reply);
        return reply;
      } catch (error) {
        if (error instanceof BusError && error.code === 'BUS_TIMEOUT') ports.epochs.unanswered();
        throw error;
      }
    },
    respond: (subject, handler) =>
      bus.respond(subject, async (data) => {
        await gate(data);
        return await handler(data);
      }),
  };
}

function gated(data: Uint8Array, ports: GatePorts): Promise<void> | undefined {
  const { crypto, trust, keyring, epochs } = ports;
  const parsed = parseFrame(data);
  if (!parsed.ok) return undefined;
  const { sender: senderId, channel, epoch } = parsed.frame.header;
  if (keyring.knows({ channel, epoch }) !== 'unknown') return undefined;
  const sender = trust.agent(senderId);
  if (sender === undefined || !channelsOf(sender).includes(channel)) return undefined;
  if (!verifyFrame(crypto, parsed.frame, sender.verifyKey).ok) return undefined;
  return epochs.whenReadable({ channel, epoch }, senderId).then(() => undefined);
}
