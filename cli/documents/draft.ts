/**
 * A document on its way to its threshold: a file that operators pass from hand to hand, each adding a
 * signature on a machine that needs no bus. It is a signed document that may still have no signature.
 */
import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { DocumentSignature, documentSignaturesMax } from '#schemas/document.ts';
import { PolicyBody } from '#schemas/policy.ts';
import { compile, List, StrictObject, type TSchema, type Validator } from '#schemas/primitives.ts';
import { RegistryBody } from '#schemas/registry.ts';
import { RevocationBody, RootBody } from '#schemas/trust.ts';
import { CliFault, fileFault } from '../fault.ts';
import { replaceFile, systemErrorCode } from '../mesh/durable-files.ts';
import type { Json } from './changes.ts';

export const documentKinds = ['root', 'registry', 'policy', 'revocation'] as const;
export type DocumentKind = (typeof documentKinds)[number];

/** As much as a mesh takes of one document. */
const draftBytesMax = 384 * 1024;

export type DraftBody = RootBody | RegistryBody | PolicyBody | RevocationBody;

export interface Draft {
  readonly body: DraftBody;
  readonly signatures: readonly DocumentSignature[];
}

const draftOf = <Body extends TSchema>(body: Body) =>
  compile(
    StrictObject({
      body,
      signatures: List(DocumentSignature, { itemsMax: documentSignaturesMax }),
    }),
  );

const draftChecks: Readonly<Record<DocumentKind, Validator<TSchema>>> = {
  root: draftOf(RootBody),
  registry: draftOf(RegistryBody),
  policy: draftOf(PolicyBody),
  revocation: draftOf(RevocationBody),
};

/** The body of a proposal, as far as its schema goes. @throws CliFault DOCUMENT_MALFORMED */
export function checkedDraft(value: unknown, kind: DocumentKind, from: string): Draft {
  const check = draftChecks[kind];
  if (check.check(value)) return value as Draft;
  const other = kindOf(value);
  if (other !== undefined && other !== kind) {
    throw new CliFault({
      code: 'DOCUMENT_MALFORMED',
      reason: `${from} is no ${kind} document but a ${other}`,
      hint: `Use gyre ${other} for it.`,
    });
  }
  const errors = check.errors(value);
  throw new CliFault({
    code: 'DOCUMENT_MALFORMED',
    reason: `${from} is no ${kind} document: ${errors.slice(0, 3).join('; ')}`,
    hint: `Begin from the one in force: gyre ${kind} show --json, or gyre ${kind} propose --out FILE.`,
  });
}

/** The kind that a document says it is. */
function kindOf(value: unknown): DocumentKind | undefined {
  const { body } = (value ?? {}) as { readonly body?: { readonly kind?: unknown } | null };
  return documentKinds.find((kind) => kind === body?.kind);
}

/** @throws CliFault FILE_UNREADABLE, DOCUMENT_MALFORMED */
export async function readDraft(file: string, kind: DocumentKind): Promise<Draft> {
  return checkedDraft(await readJson(file), kind, file);
}

export async function writeDraft(file: string, draft: Draft): Promise<string> {
  const path = resolve(file);
  try {
    await replaceFile(path, `${JSON.stringify(draft, null, 2)}\n`);
  } catch (cause) {
    throw new CliFault({
      code: 'DOCUMENT_UNWRITABLE',
      reason: `${path} cannot be written (${systemErrorCode(cause) ?? 'unknown'})`,
      hint: 'Name a file in a folder that exists and that you may write to.',
      cause,
    });
  }
  return path;
}

/** Any JSON file of a bounded size. */
export async function readJson(file: string): Promise<Json> {
  const path = resolve(file);
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > draftBytesMax) throw tooLarge(path, size);
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (cause instanceof CliFault) throw cause;
    throw fileFault(path, systemErrorCode(cause) ?? 'unknown', cause);
  }
  try {
    return JSON.parse(text) as Json;
  } catch (cause) {
    throw new CliFault({
      code: 'DOCUMENT_MALFORMED',
      reason: `${path} is not JSON`,
      hint: 'A document is a JSON file with body and signatures.',
      cause,
    });
  }
}

function tooLarge(path: string, bytes: number): CliFault {
  return new CliFault({
    code: 'DOCUMENT_MALFORMED',
    reason: `${path} has ${bytes} bytes; a document has at most ${draftBytesMax}`,
    hint: 'This is another file.',
  });
}
