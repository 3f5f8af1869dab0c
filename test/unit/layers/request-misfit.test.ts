/** What a service says of a body that it cannot take: where, and by which rule, and nothing of what was sent. */
import { expect, test } from 'vitest';
import { List, StrictObject, Text, Uint, compile } from '#schemas/primitives.ts';
import { bodyOf, serviceApp } from '#agents/layers/service/http-app.ts';
import { quiet } from '../../support/world.ts';

const check = compile(
  StrictObject({ count: Uint(9), names: List(StrictObject({ name: Text(8) }), { itemsMax: 4 }) }),
);

async function answerTo(body: string): Promise<unknown> {
  const { app } = serviceApp({ log: quiet, status: {} });
  app.post('/', async (context) => context.json(await bodyOf(context, check)));
  const response = await app.request('/', { method: 'POST', body });
  return await response.json();
}

test.each([
  ['a field that is missing', { names: [] }, '/: must have required properties count'],
  ['a field that is not known', { count: 1, names: [], extra: 'S' }, '/extra: no such field is'],
  ['a value deep inside', { count: 1, names: [{ name: 'SECRET-SECRET' }] }, '/names/0/name: '],
  ['something else altogether', 'SECRET', '/: must be object'],
])('%s is named', async (_, body, where) => {
  const answer = await answerTo(JSON.stringify(body));
  expect(answer).toMatchObject({
    error: {
      code: 'REQUEST_MALFORMED',
      reason: expect.stringContaining(`the body does not fit at ${where}`),
    },
  });
  expect(JSON.stringify(answer)).not.toContain('SECRET');
});

test('what is no JSON is told as that', async () => {
  expect(await answerTo('{')).toMatchObject({ error: { reason: 'the body is not JSON' } });
});
