/** A sender's chains: counters rise and are burned once, links name what was published. */
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { chainMessagesMax } from '#schemas/frame.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { openFrame, parseFrame, verifyFrame } from '#shared/crypto/envelope.ts';
import { deriveChannelKeys, messageNonce } from '#shared/crypto/key-schedule.ts';
import { StaticKeyring } from '#shared/crypto/keyring.ts';
import { chainsMax, SenderChain } from '#shared/crypto/sender-chain.ts';
import { body, channelSecret, crypto, event, filled, signingKey, verifyKey } from './fixtures.ts';

const keyring = new StaticKeyring([
  { channel: 'saga', epoch: 1, secret: filled(0x01) },
  { channel: 'saga', epoch: 2, secret: channelSecret },
]);
const options = { crypto, sender: 'orchestrator-1', signingKey, keyring };
const input = { ...event, body };
const zeros = filled(0);
const withCode = (code: string) => expect.objectContaining({ code });

let chain: SenderChain;
beforeEach(() => {
  chain = new SenderChain(options);
});

describe('seal', () => {
  test('fills in the header, and the result opens', () => {
    const pending = chain.seal(input);
    expect(pending.header).toEqual({
      ...event,
      version: 1,
      suite: 1,
      sender: 'orchestrator-1',
      senderKeyId: signingKey.publicKey.keyId,
      epoch: 2,
      incarnation: chain.incarnation,
      counter: 1,
      previous: zeros,
    });
    const frame = parseFrame(pending.frame);
    if (!frame.ok) throw new Error(frame.code);
    expect(verifyFrame(crypto, frame.frame, verifyKey)).toMatchObject({
      messageId: pending.messageId,
    });
    expect(openFrame(crypto, frame.frame, channelSecret)).toMatchObject({ ok: true, body });
  });

  test('an accepted event is the link of the next, a refused one burns its counter only', () => {
    const first = chain.seal(input);
    first.accepted();
    const second = chain.seal(input);
    second.refused();
    const third = chain.seal(input);
    third.accepted();
    const fourth = chain.seal(input);
    const links = [first, second, third, fourth].map(({ header }) => [
      header.counter,
      toHex(header.previous),
    ]);
    expect(links).toEqual([
      [1, toHex(zeros)],
      [2, first.messageId],
      [3, first.messageId],
      [4, third.messageId],
    ]);
  });

  test('one undecided event per chain, decided once', () => {
    const pending = chain.seal(input);
    expect(() => chain.seal(input)).toThrow(withCode('CHAIN_BUSY'));
    expect(() => chain.seal({ ...input, audience: 'mesh' })).not.toThrow();
    expect(() => chain.seal({ ...input, lane: 'query' })).not.toThrow();
    pending.accepted();
    expect(() => {
      pending.accepted();
    }).toThrow('invariant');
    expect(() => {
      pending.refused();
    }).toThrow('invariant');
    expect(chain.seal(input).header.counter).toBe(2);
  });

  test('what cannot be sealed burns a counter and leaves the chain usable', () => {
    const refuses = withCode('NOT_ENCODABLE');
    expect(() => chain.seal({ ...input, body: { at: undefined } })).toThrow(refuses);
    expect(() => chain.seal({ ...input, type: 'No Type' })).toThrow(refuses);
    expect(chain.seal(input).header).toMatchObject({ counter: 3, previous: zeros });
  });

  test('a channel without a secret is refused before a counter is taken', () => {
    expect(() => chain.seal({ ...input, channel: 'mesh' })).toThrow(withCode('CHANNEL_UNKNOWN'));
    expect(chain.seal(input).header.counter).toBe(1);
  });
});

describe('counters', () => {
  test('no pair of key and nonce repeats over audiences, lanes and incarnations', () => {
    const step = fc.record({
      audience: fc.constantFrom('saga', 'mesh', 'layer-1'),
      lane: fc.constantFrom('control' as const, 'query' as const),
      decision: fc.constantFrom('accepted', 'refused', 'restart'),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), (steps) => {
        const used = new Set<string>();
        let sender = new SenderChain(options);
        for (const { audience, lane, decision } of steps) {
          const slot = sender.next({ audience, lane });
          const scope = { channel: 'saga', epoch: 1, sender: 'a', audience, lane };
          const keys = deriveChannelKeys(crypto, channelSecret, {
            ...scope,
            incarnation: sender.incarnation,
          });
          const nonce = messageNonce(keys.baseNonce, slot.counter);
          used.add(`${toHex(keys.key)} ${toHex(nonce)}`);
          if (decision === 'restart') sender = new SenderChain(options);
          else if (decision === 'accepted') slot.accepted(filled(slot.counter & 0xff));
          else slot.refused();
        }
        expect(used.size).toBe(steps.length);
      }),
      { numRuns: 50 },
    );
  });

  test('end after 2^20 messages, accepted or refused; a new incarnation goes on', () => {
    const name = { audience: 'saga', lane: 'control' } as const;
    let last = 0;
    for (let sent = 0; sent < chainMessagesMax; sent += 1) {
      const slot = chain.next(name);
      last = slot.counter;
      slot.refused();
    }
    expect(last).toBe(chainMessagesMax);
    expect(() => chain.next(name)).toThrow(withCode('CHANNEL_EXHAUSTED'));
    expect(() => chain.seal(input)).toThrow(withCode('CHANNEL_EXHAUSTED'));
    expect(chain.seal({ ...input, audience: 'mesh' }).header.counter).toBe(1);
    const next = new SenderChain(options);
    expect(toHex(next.incarnation)).not.toBe(toHex(chain.incarnation));
    expect(next.seal(input).header.counter).toBe(1);
  });

  test('a sender has a bounded number of chains', () => {
    for (let index = 0; index < chainsMax; index += 1) {
      chain.next({ audience: `agent-${index}`, lane: 'control' }).refused();
    }
    const one = { audience: 'agent-0', lane: 'query' } as const;
    expect(() => chain.next(one)).toThrow(withCode('CHANNEL_EXHAUSTED'));
    expect(chain.next({ audience: 'agent-0', lane: 'control' }).counter).toBe(2);
  });
});
