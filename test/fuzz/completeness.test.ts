/**
 * Whoever adds a decoder adds it here: the exported functions that are named like one, or that take a
 * value of any shape, against the list of those that are fuzzed and those that are excused.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect, test } from 'vitest';
import { excused, fuzzed } from './decoders.ts';

const root = join(import.meta.dirname, '../..');
const folders = ['schemas', 'shared', 'agents', 'cli'];
const exported = /^export (?:async )?function\*? ?(\w+)(?:<[^(]*>)?\(([^]*?)^\}/gm;
const isNamedSo = /^(?:parse|open|decode|read|from|unwrap|load|unseal)[A-Z]/;
const takesAnything = /^[^{]*?:\s*unknown\b/;

function decodersIn(path: string): { name: string; path: string }[] {
  const text = readFileSync(join(root, path), 'utf8');
  return [...text.matchAll(exported)].flatMap(([, name = '', rest = '']) => {
    const parameters = rest.slice(0, rest.search(/\)(?::|\s*\{)/));
    return isNamedSo.test(name) || takesAnything.test(parameters) ? [{ name, path }] : [];
  });
}

const decoders = folders.flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .flatMap(decodersIn),
);
const listed = new Set([...Object.values(fuzzed).flat(), ...Object.keys(excused)]);

test('every decoder is fuzzed, or excused with a reason', () => {
  const missing = decoders.filter(({ name }) => !listed.has(name));
  expect(missing.map(({ name, path }) => `${path}: ${name}`)).toEqual([]);
  expect(decoders.length).toBeGreaterThan(60);
});

test('the list names what is there, once', () => {
  const names = [...Object.values(fuzzed).flat(), ...Object.keys(excused)];
  expect(names.length).toBe(listed.size);
  const sources = folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .map((path) => readFileSync(join(root, folder, path), 'utf8')),
  );
  const gone = names.filter(
    (name) =>
      !sources.some(
        (text) => text.includes(`function ${name}`) || text.includes(`function* ${name}`),
      ),
  );
  expect(gone).toEqual([]);
  expect(Object.values(excused).every((reason) => reason.length > 10)).toBe(true);
});

test.each(Object.entries(fuzzed))('%s calls what it is said to call', (file, names) => {
  const text = readFileSync(join(import.meta.dirname, file), 'utf8');
  const body = text.slice(text.lastIndexOf('\nimport '));
  const idle = names.filter((name) => !new RegExp(`\\b${name}\\b`).test(body));
  expect(idle).toEqual([]);
});
