/** A copy is equal, and shares nothing. */
import { expect, test } from 'vitest';
import { copyData } from '#shared/core/plain-copy.ts';

test('is equal and shares nothing', () => {
  const data = { a: [1, { b: 'x', c: undefined }], d: null, e: new Uint8Array([1, 2]), f: true };
  const copy = copyData(data);
  expect(copy).toStrictEqual(structuredClone(data));
  copy.a.push(3);
  copy.e[0] = 9;
  Object.assign(copy.a[1] as object, { b: 'y' });
  expect(data).toStrictEqual({
    a: [1, { b: 'x', c: undefined }],
    d: null,
    e: new Uint8Array([1, 2]),
    f: true,
  });
});

test('shares no memory with bytes of another class either', () => {
  const data = { bytes: Buffer.from([1, 2, 3]) as Uint8Array };
  const copy = copyData(data);
  copy.bytes[0] = 9;
  expect([...data.bytes]).toEqual([1, 2, 3]);
  expect(copy).toStrictEqual({ bytes: new Uint8Array([9, 2, 3]) });
});

test.each<[string, unknown]>([
  ['a Map', { a: new Map() }],
  ['a Date', [new Date(0)]],
  ['a function', { a: () => 1 }],
  ['a key that reaches a prototype', JSON.parse('{"__proto__":{"a":1}}')],
])('%s is no plain data', (_name, value) => {
  expect(() => copyData(value)).toThrow('plain data');
});
