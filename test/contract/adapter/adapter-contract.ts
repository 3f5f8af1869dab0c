/**
 * What every layer adapter must do, whatever holds its keys: the six operations, each of them safe
 * to repeat, and the errors they answer with. A new adapter brings a world and runs this suite.
 */
import { describe, expect, test } from 'vitest';
import { AdapterError, type LayerAdapter, type SlotInspection } from '#agents/layers/adapter.ts';
import { isUsablePublicKey, verifyActivation } from '#agents/layers/public-keys.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';

export interface AdapterWorld {
  readonly adapter: LayerAdapter;
  /** The same adapter after its process ended and came back. */
  reopen(): Promise<LayerAdapter>;
  close(): Promise<void>;
}

const crypto = createNativeProvider();
const challenge = new TextEncoder().encode('command-1');

export function adapterContract(name: string, open: () => Promise<AdapterWorld>): void {
  const withWorld = async (body: (world: AdapterWorld) => Promise<void>): Promise<void> => {
    const world = await open();
    try {
      await body(world);
    } finally {
      await world.close();
    }
  };

  describe(`adapter contract: ${name}`, () => {
    test('every slot begins with one primary key that holds', () =>
      withWorld(async ({ adapter }) => {
        const slots = await adapter.inspect();
        expect(slots.length).toBeGreaterThan(0);
        for (const slot of slots) {
          expect(states(slot)).toEqual(['1:primary']);
          expect(await adapter.verify(slot.slot, 1)).toEqual({ ok: true });
          const [key] = slot.versions;
          if (key?.publicKey !== undefined) {
            expect(isUsablePublicKey(crypto, slot.keyKind, key.publicKey)).toBe(true);
          }
        }
      }));

    test('a rotation and its retirement', () =>
      withWorld(async ({ adapter }) => {
        for (const { slot, keyKind } of await adapter.inspect()) {
          const prepared = await adapter.prepare(slot, 2);
          expect(prepared).toMatchObject({ version: 2, state: 'prepared' });
          expect(await adapter.prepare(slot, 2)).toEqual(prepared);
          expect(await adapter.verify(slot, 2)).toMatchObject({ ok: false });
          const { proof } = await adapter.activate(slot, 2, challenge);
          expect(proof !== undefined).toBe(keyKind === 'signature');
          if (proof !== undefined && prepared.publicKey !== undefined) {
            expect(verifyActivation(crypto, prepared.publicKey, { challenge, proof })).toBe(true);
            const other = new TextEncoder().encode('command-2');
            const forged = { challenge: other, proof };
            expect(verifyActivation(crypto, prepared.publicKey, forged)).toBe(false);
          }
          expect(states(await inspected(adapter, slot))).toEqual(['2:primary', '1:accepted']);
          await adapter.activate(slot, 2, challenge);
          expect(states(await inspected(adapter, slot))).toEqual(['2:primary', '1:accepted']);
          expect(await adapter.verify(slot, 2)).toEqual({ ok: true });
          await adapter.retire(slot, 1);
          await adapter.retire(slot, 1);
          expect(states(await inspected(adapter, slot))).toEqual(['2:primary']);
          expect(await adapter.verify(slot, 2)).toEqual({ ok: true });
          expect(await adapter.usesLately(slot, 1)).toBe(0);
        }
      }));

    test('a rollback keeps the withdrawn key for what it made, and its number is never used again', () =>
      withWorld(async ({ adapter }) => {
        for (const { slot } of await adapter.inspect()) {
          await adapter.prepare(slot, 2);
          await adapter.activate(slot, 2, challenge);
          await adapter.rollback(slot, 1);
          await adapter.rollback(slot, 1);
          expect(states(await inspected(adapter, slot))).toEqual(['2:withdrawn', '1:primary']);
          expect(await adapter.verify(slot, 1)).toEqual({ ok: true });
          await adapter.retire(slot, 2);
          expect(states(await inspected(adapter, slot))).toEqual(['1:primary']);
          await expect(adapter.prepare(slot, 2)).rejects.toMatchObject({ code: 'STATE_CONFLICT' });
          await adapter.prepare(slot, 3);
          expect(states(await inspected(adapter, slot))).toEqual(['3:prepared', '1:primary']);
        }
      }));

    test('a key that was never active goes with the rollback', () =>
      withWorld(async ({ adapter }) => {
        const slot = await anySlot(adapter);
        await adapter.prepare(slot, 2);
        await adapter.rollback(slot, 1);
        expect(states(await inspected(adapter, slot))).toEqual(['1:primary']);
        await expect(adapter.activate(slot, 2, challenge)).rejects.toBeInstanceOf(AdapterError);
      }));

    test('what cannot be is refused with a code', () =>
      withWorld(async ({ adapter }) => {
        const slot = await anySlot(adapter);
        const refusals = [
          [adapter.prepare('7/nothing-here', 2), 'SLOT_UNKNOWN'],
          [adapter.freeze('7/nothing-here', true), 'SLOT_UNKNOWN'],
          [adapter.activate(slot, 9, challenge), 'VERSION_UNKNOWN'],
          [adapter.rollback(slot, 9), 'VERSION_UNKNOWN'],
          [adapter.retire(slot, 9), 'VERSION_UNKNOWN'],
          [adapter.retire(slot, 1), 'STATE_CONFLICT'],
        ] as const;
        for (const [refused, code] of refusals) {
          await expect(refused).rejects.toMatchObject({ name: 'AdapterError', code });
        }
        expect(states(await inspected(adapter, slot))).toEqual(['1:primary']);
      }));

    test('freezing shows, and can be taken back', () =>
      withWorld(async ({ adapter }) => {
        const slot = await anySlot(adapter);
        await adapter.freeze(slot, true);
        await adapter.freeze(slot, true);
        expect((await inspected(adapter, slot)).frozen).toBe(true);
        await adapter.freeze(slot, false);
        expect((await inspected(adapter, slot)).frozen).toBe(false);
      }));

    test('everything is there again after a restart', () =>
      withWorld(async (world) => {
        const slot = await anySlot(world.adapter);
        await world.adapter.prepare(slot, 2);
        await world.adapter.activate(slot, 2, challenge);
        await world.adapter.prepare(slot, 3);
        await world.adapter.freeze(slot, true);
        const before = await world.adapter.inspect();
        const fingerprint = world.adapter.fingerprint();
        const adapter = await world.reopen();
        expect(await adapter.inspect()).toEqual(before);
        expect(adapter.fingerprint()).toBe(fingerprint);
        expect(await adapter.verify(slot, 2)).toEqual({ ok: true });
        await adapter.activate(slot, 3, challenge);
        expect(states(await inspected(adapter, slot))).toEqual([
          '3:primary',
          '2:accepted',
          '1:accepted',
        ]);
      }));
  });
}

async function anySlot(adapter: LayerAdapter): Promise<string> {
  const [slot] = await adapter.inspect();
  if (slot === undefined) throw new Error('the adapter has no slot');
  return slot.slot;
}

async function inspected(adapter: LayerAdapter, name: string): Promise<SlotInspection> {
  const slot = (await adapter.inspect()).find((each) => each.slot === name);
  if (slot === undefined) throw new Error(`the adapter has no slot ${name}`);
  return slot;
}

function states(slot: SlotInspection): string[] {
  return slot.versions.map(({ version, state }) => `${version}:${state}`);
}
