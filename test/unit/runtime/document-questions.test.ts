/** Whom somebody asks who is behind and finds nothing newer among the documents that are kept. */

import { expect, it } from 'vitest';
import { BusError } from '#shared/bus/bus.ts';
import { DocumentQuestions } from '#shared/runtime/document-questions.ts';
import type { Exchange } from '#shared/runtime/exchange.ts';
import type { TrustDesk } from '#shared/runtime/trust-desk.ts';
import { makeWorld, quiet } from '../../support/world.ts';

it('orchestrators, and where they know nothing the auditor, whose log may have accepted more', async () => {
  const world = await makeWorld();
  const asked: string[] = [];
  const ask = async ({ agentId }: { agentId: string }): Promise<never> => {
    asked.push(agentId);
    throw new BusError('BUS_TIMEOUT', 'silent');
  };
  const questions = new DocumentQuestions({
    agentId: 'orchestrator-b',
    trust: world.newTrust(),
    trustDesk: { catchUp: async () => {} } as unknown as TrustDesk,
    exchange: { ask } as unknown as Exchange,
    clock: world.clock,
    log: quiet,
  });
  // At the start nobody is known to be ahead.
  await questions.catchUp();
  expect(asked).toEqual([]);
  await questions.catchUp();
  await expect.poll(() => asked).toEqual(['orchestrator-a', 'auditor']);
});
