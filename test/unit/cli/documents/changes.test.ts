/** Changes and differences of documents, as the command line types and shows them. */
import { describe, expect, test } from 'vitest';
import { differences, parseChange, withChanges } from '#cli/documents/changes.ts';

describe('a change as typed', () => {
  test.each([
    ['policies.minimum_security_level=4', ['policies', 'minimum_security_level'], 4],
    ['policies.hybrid_mode.enabled=false', ['policies', 'hybrid_mode', 'enabled'], false],
    ['algorithms.kem.0.status=deprecated', ['algorithms', 'kem', '0', 'status'], 'deprecated'],
    ['policy_name=a=b', ['policy_name'], 'a=b'],
    ['policies.x=["a","b"]', ['policies', 'x'], ['a', 'b']],
    ['policies.x=', ['policies', 'x'], ''],
  ])('%s', (text, path, value) => {
    expect(parseChange(text)).toEqual({ path, value });
  });

  test.each(['', '=4', 'a..b=1', 'a b=1', 'policies', `${'a.'.repeat(20)}b=1`])(
    '%j is none',
    (text) => {
      expect(() => parseChange(text)).toThrow(/is not a change/);
    },
  );

  test.each(['version=9', 'issued_at=x', 'expires_at=x', 'mesh=other', 'kind=root'])(
    '%s is for the proposal',
    (text) => {
      expect(() => parseChange(text)).toThrow(/is not for --set/);
    },
  );
});

describe('a changed body', () => {
  const body = { a: { b: 1, c: [{ d: 'x' }] } };

  test('is a copy', () => {
    const changed = withChanges(body, [parseChange('a.c.0.d=y'), parseChange('a.b=2')]);
    expect(changed).toEqual({ a: { b: 2, c: [{ d: 'y' }] } });
    expect(body).toEqual({ a: { b: 1, c: [{ d: 'x' }] } });
  });

  test.each(['a.z=1', 'a.c.1.d=y', 'a.c.x.d=y', 'a.b.c=1', '__proto__.x=1', 'a.constructor=1'])(
    '%s names no field',
    (text) => {
      expect(() => withChanges(body, [parseChange(text)])).toThrow(/has no field/);
    },
  );
});

test('an entry of a list that has a name is named as differences name it', () => {
  const body = {
    kem: [
      { name: 'a', level: 1 },
      { name: 'ML-KEM-768', level: 3 },
    ],
  };
  const changed = withChanges(body, [parseChange('kem.ML-KEM-768.level=4')]);
  expect(differences(body, changed)).toEqual([{ path: 'kem.ML-KEM-768.level', from: 3, to: 4 }]);
  expect(() => withChanges(body, [parseChange('kem.c.level=4')])).toThrow(/has no field/);
});

test('lists of named objects are compared by name', () => {
  const from = {
    kem: [
      { name: 'a', level: 1 },
      { name: 'b', level: 2 },
    ],
  };
  const to = {
    kem: [
      { name: 'b', level: 3 },
      { name: 'a', level: 1 },
    ],
  };
  expect(differences(from, to)).toEqual([{ path: 'kem.b.level', from: 2, to: 3 }]);
});

test('differences are told by leaf, lists as wholes', () => {
  const from = { version: 1, a: { b: 1, list: [1, 2] }, gone: true };
  const to = { version: 2, a: { b: 1, list: [1, 3] }, came: null };
  expect(differences(from, to)).toEqual([
    { path: 'a.list', from: [1, 2], to: [1, 3] },
    { path: 'came', from: undefined, to: null },
    { path: 'gone', from: true, to: undefined },
    { path: 'version', from: 1, to: 2 },
  ]);
  expect(differences(from, from)).toEqual([]);
});
