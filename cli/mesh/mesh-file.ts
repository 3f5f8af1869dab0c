/**
 * `mesh.json`: what a mesh directory holds, in a form that any later command can read without a key.
 * It pins the digest of the root document for the operators of this machine.
 */
import { readFile } from 'node:fs/promises';
import type { Static } from 'typebox';
import {
  AgentId,
  DigestHex,
  IntegerRange,
  KebabName,
  List,
  OneOf,
  StrictObject,
  TimeMs,
  Type,
  compile,
} from '#schemas/primitives.ts';
import { CliFault, exitCodes } from '../fault.ts';
import { typed } from '../style.ts';
import { layoutOf } from './layout.ts';
import { systemErrorCode } from './durable-files.ts';

export const tokenKinds = ['softhsm', 'file'] as const;
export type TokenKind = (typeof tokenKinds)[number];

/**
 * Of what lies in a mesh directory. 1 knew neither services nor healing actions: its documents name
 * other keys, and its agents have no right to what those of today say.
 */
export const meshVersion = 2;

export const MeshFile = StrictObject({
  version: IntegerRange({ min: 1, max: meshVersion }),
  mesh: KebabName(),
  rootDigest: DigestHex(),
  port: IntegerRange({ min: 1, max: 65535 }),
  token: OneOf(tokenKinds),
  /** Whether the layers' keys are held by services of their own; by the agents otherwise. */
  services: Type.Optional(Type.Boolean()),
  /** Public NKEY of the administrator of the streams. */
  adminNkey: Type.String({ pattern: '^U[A-Z2-7]{55}$' }),
  createdAtMs: TimeMs(),
  operators: List(AgentId(), { itemsMin: 1, itemsMax: 64 }),
  agents: List(AgentId(), { itemsMin: 1, itemsMax: 1024 }),
});
export type MeshFile = Static<typeof MeshFile>;

const meshFileCheck = compile(MeshFile);

/** The mesh in `root`, or null where that folder holds none. */
export async function findMesh(root: string): Promise<MeshFile | null> {
  const path = layoutOf(root).meshFile;
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    const code = systemErrorCode(cause);
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw new CliFault({
      code: 'MESH_UNREADABLE',
      reason: `${path} cannot be read`,
      hint: 'Check the permissions of the folder; run gyre as the user who made the mesh.',
      cause,
    });
  }
  const value = parse(text);
  if (meshFileCheck.check(value)) return value;
  throw new CliFault({
    code: 'MESH_UNREADABLE',
    reason: `${path} is not a description of a mesh`,
    hint: 'Restore the file, or make another mesh: gyre up --dir OTHER.',
  });
}

/**
 * Why the programs of today do not run a mesh, or undefined. An older one can be looked at, and stopped
 * where it still runs.
 */
export function outdated(mesh: MeshFile, root: string): CliFault | undefined {
  if (mesh.version === meshVersion) return undefined;
  return new CliFault({
    code: 'MESH_OUTDATED',
    reason: `the mesh in ${root} was made by an older gyre (version ${mesh.version} of a mesh, not ${meshVersion})`,
    hint: 'Run it with the gyre that made it, which also exports its log, or make another: gyre up --dir OTHER.',
  });
}

/** As `findMesh`, for commands that need a mesh. */
export async function requireMesh(root: string): Promise<MeshFile> {
  const mesh = await findMesh(root);
  if (mesh !== null) return mesh;
  throw new CliFault({
    code: 'MESH_NOT_FOUND',
    reason: `there is no mesh in ${root}`,
    hint: `Make one: gyre up --detach --dir ${typed(root)}, or name another with --dir or GYRE_DIR.`,
    exitCode: exitCodes.unreachable,
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
