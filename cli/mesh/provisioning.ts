/**
 * Makes a new mesh directory: keys, token, root, registry, policy, enrolments, channel secrets and
 * configuration. It is built in a folder beside its place and renamed at the end, so a directory
 * either holds a whole mesh or nothing; what was begun and failed is removed.
 */
import { readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { compile, KebabName } from '#schemas/primitives.ts';
import type { RoleName, RootBody, TrustBundle } from '#schemas/trust.ts';
import { createNkey } from '#shared/bus/nkeys.ts';
import { toBase64Url } from '#shared/crypto/bytes.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import {
  documentDigest,
  keyIdOf,
  localAnchor,
  localSigner,
  signDocument,
} from '#shared/crypto/signed-document.ts';
import { openTrust } from '#shared/crypto/trust.ts';
import { CliFault, usageFault } from '../fault.ts';
import { typed } from '../style.ts';
import { writeConfigs } from './agent-configs.ts';
import {
  buildingPath,
  createFile,
  makeDirectory,
  makePath,
  syncDirectory,
  systemErrorCode,
} from './durable-files.ts';
import { enrolmentBody, makeIdentity, type Anchor, type Identity } from './identities.ts';
import { layoutOf, socketPathBytesMax, type MeshLayout } from './layout.ts';
import { measureAlgorithms } from './measurements.ts';
import { agents, members, operators } from './members.ts';
import { findMesh, meshVersion, type MeshFile } from './mesh-file.ts';
import { policyBody, type PolicyChoices, type RotationTimes } from './policy-body.ts';
import { registryBody, type Validity } from './registry-body.ts';
import { makeServices, serviceSocketsOf } from './services.ts';
import {
  keyRoles,
  prepareToken,
  roleSigner,
  settleTokens,
  tokenConfig,
  type PreparedSigner,
  type TokenChoice,
} from './token-setup.ts';

export interface ProvisioningOptions {
  /** Absolute path of the directory to make. */
  readonly root: string;
  readonly port: number;
  readonly token: TokenChoice;
  readonly times: RotationTimes;
  /** Approvers of an emergency beside who asks for it; one unless told. */
  readonly emergencyApprovals?: number;
  /** Between two heartbeats of a layer agent; a second unless told. */
  readonly heartbeatMs?: number;
  /** Whether services of their own hold the layers' keys. */
  readonly services?: boolean;
  /** Of the mesh; that of its folder unless told. */
  readonly name?: string;
  readonly onProgress: (line: string) => void;
}

const tokenLabel = 'gyre';
const dayMs = 24 * 3_600_000;
const validMs = 365 * dayMs;
/** Documents are valid a little before they were made, for clocks that run behind. */
const backdatedMs = 60_000;
const unwritableCodes: ReadonlySet<string> = new Set(['ENOENT', 'EACCES', 'EPERM', 'EROFS']);

const nameCheck = compile(KebabName());
const nameDefault = 'dev';

export function isMeshName(text: string): boolean {
  return nameCheck.check(text);
}

/** What the folder is called, where a mesh can be called so. */
export function meshNameOf(root: string): string {
  const name = basename(root);
  return isMeshName(name) ? name : nameDefault;
}

/** Faults leave nothing behind. */
export async function provisionMesh(options: ProvisioningOptions): Promise<MeshFile> {
  const { root } = options;
  checkSocketPaths(root, options.services ?? false);
  await checkVacant(root);
  const building = buildingPath(root, basename(root));
  await beginBuilding(root, building);
  try {
    const mesh = await build(layoutOf(building), options);
    await moveIntoPlace(building, root);
    return mesh;
  } catch (error) {
    await rm(building, { recursive: true, force: true });
    throw error;
  }
}

async function build(layout: MeshLayout, options: ProvisioningOptions): Promise<MeshFile> {
  const { token: choice, onProgress } = options;
  const crypto = createNativeProvider();
  await makeDirectories(layout);
  onProgress(`keys for ${operators.length} operators and ${agents.length} agents`);
  onProgress(
    choice.kind === 'file' ? 'file token: not an HSM' : 'software token (SoftHSM2): not an HSM',
  );
  if (options.services === true) {
    onProgress(
      choice.kind === 'file'
        ? "layer 4's root KEK: in a file"
        : "layer 4's root KEK: in a software token of its own (SoftHSM2): not an HSM",
    );
  }
  const [identities, measurements, signer] = await settled(
    Promise.all(members.map((member) => makeIdentity(crypto, layout, member))),
    measureAlgorithms(),
    prepareToken(crypto, layout, { choice, label: tokenLabel }),
  );
  try {
    onProgress('root, registry, policy and enrolments, signed');
    const bundle = await signBundle(crypto, { identities, signer, measurements, options });
    const rootDigest = documentDigest(crypto, bundle.root.body);
    checkBundle(crypto, bundle, rootDigest);
    const { port, services = false, heartbeatMs } = options;
    const { mesh } = bundle.root.body;
    const token = tokenConfig(choice, tokenLabel);
    await Promise.all([
      createFile(layout.bundleFile, `${JSON.stringify(bundle)}\n`),
      writeConfigs(layout, {
        mesh,
        rootDigest,
        port,
        token,
        services,
        ...(heartbeatMs === undefined ? {} : { heartbeatMs }),
      }),
      ...(services ? [makeServices(crypto, layout, choice)] : []),
    ]);
    if (choice.kind === 'softhsm') await settleTokens(layout, layoutOf(options.root), services);
    const adminNkey = await makeAdmin(layout);
    const fields = { mesh, rootDigest, port, token: choice.kind, adminNkey };
    return await writeMeshFile(layout, { ...fields, ...(services ? { services } : {}) });
  } finally {
    await signer.token.close();
    for (const { signingKey, anchor } of identities) {
      signingKey.wipe();
      anchor?.signingKey.wipe();
    }
  }
}

async function makeDirectories(layout: MeshLayout): Promise<void> {
  await makeDirectory(layout.root);
  const folders = [
    dirname(layout.bundleFile),
    dirname(layout.adminSeedFile),
    layout.natsStoreDirectory,
    layout.logsDirectory,
    layout.runDirectory,
  ];
  for (const folder of ['operators', 'agents', 'nats'])
    await makeDirectory(`${layout.root}/${folder}`);
  await Promise.all(folders.map(makeDirectory));
}

interface BundleInput {
  readonly identities: readonly Identity[];
  readonly signer: PreparedSigner;
  readonly measurements: Awaited<ReturnType<typeof measureAlgorithms>>;
  readonly options: ProvisioningOptions;
}

async function signBundle(crypto: CryptoProvider, input: BundleInput): Promise<TrustBundle> {
  const { identities, signer, measurements, options } = input;
  const validity = { ...validFrom(Date.now()), mesh: options.name ?? meshNameOf(options.root) };
  const { mesh } = validity;
  const operatorSigners = identities
    .filter(({ member }) => member.kind === 'operator')
    .map(({ signingKey }) => localSigner(crypto, signingKey));
  const enrol = roleSigner(signer, 'enrolment');
  const enrolments: TrustBundle['enrolments'] = [];
  for (const identity of identities) {
    enrolments.push(await signDocument(enrolmentBody(mesh, validity, identity), [enrol]));
  }
  return {
    root: await signDocument(
      rootBody(crypto, identities, signer, validity),
      operatorSigners,
      anchorsOf(identities).map(({ signingKey, publicKey }) =>
        localAnchor(crypto, signingKey, publicKey),
      ),
    ),
    registry: await signDocument(registryBody(mesh, validity, measurements), operatorSigners),
    policy: await signDocument(policyBody(mesh, validity, choicesOf(options)), operatorSigners),
    enrolments,
  };
}

function choicesOf({ times, emergencyApprovals }: ProvisioningOptions): PolicyChoices {
  return { ...times, ...(emergencyApprovals === undefined ? {} : { emergencyApprovals }) };
}

/**
 * Two operators for root, registry and policy, both of their anchors for the root; the token's keys for
 * what the signer states.
 */
function rootBody(
  crypto: CryptoProvider,
  identities: readonly Identity[],
  { keys }: PreparedSigner,
  { issuedAt, expiresAt, mesh }: Validity & { readonly mesh: string },
): RootBody {
  const operatorKeys = identities
    .filter(({ member }) => member.kind === 'operator')
    .map(({ signingKey }) => signingKey.publicKey);
  const published = [
    ...operatorKeys.map(({ keyIdHex, raw }) => ({ keyId: keyIdHex, publicKey: raw })),
    ...keyRoles.map((role) => keys[role]),
  ];
  const byOperators = { key_ids: operatorKeys.map(({ keyIdHex }) => keyIdHex), threshold: 2 };
  const bySigner = (role: RoleName & keyof typeof keys) => ({
    key_ids: [keys[role].keyId],
    threshold: 1,
  });
  return {
    kind: 'root',
    mesh,
    version: 1,
    issued_at: issuedAt,
    expires_at: expiresAt,
    keys: Object.fromEntries(
      published.map(({ keyId, publicKey }) => [
        keyId,
        { algorithm: 'ML-DSA-87' as const, public_key: toBase64Url(publicKey) },
      ]),
    ),
    anchor: {
      keys: Object.fromEntries(
        anchorsOf(identities).map(({ publicKey }) => [
          keyIdOf(crypto, publicKey),
          { algorithm: 'SLH-DSA-SHAKE-256s' as const, public_key: toBase64Url(publicKey) },
        ]),
      ),
      threshold: 2,
    },
    roles: {
      root: byOperators,
      registry: byOperators,
      policy: byOperators,
      orchestration: bySigner('orchestration'),
      audit: bySigner('audit'),
      enrolment: bySigner('enrolment'),
    },
  };
}

function anchorsOf(identities: readonly Identity[]): Anchor[] {
  return identities.flatMap(({ anchor }) => (anchor === undefined ? [] : [anchor]));
}

/** The agents would refuse it later; here it is still nobody's mesh. */
function checkBundle(crypto: CryptoProvider, bundle: TrustBundle, rootDigest: string): void {
  const opened = openTrust(crypto, { bundle, rootDigest, nowMs: Date.now() });
  if (opened.status === 'ok') return;
  throw new CliFault({
    code: opened.code,
    reason: `the new documents do not hold: ${opened.reason}`,
    hint: 'Check the clock of this machine, then try again; nothing was left behind.',
  });
}

/** The administrator's key: its public half. */
async function makeAdmin(layout: MeshLayout): Promise<string> {
  const admin = createNkey();
  try {
    await createFile(layout.adminSeedFile, admin.seed);
    return admin.publicKey;
  } finally {
    admin.seed.fill(0);
  }
}

async function writeMeshFile(
  layout: MeshLayout,
  fields: Pick<MeshFile, 'mesh' | 'rootDigest' | 'port' | 'token' | 'adminNkey' | 'services'>,
): Promise<MeshFile> {
  const content: MeshFile = {
    version: meshVersion,
    ...fields,
    createdAtMs: Date.now(),
    operators: operators.map(({ id }) => id),
    agents: agents.map(({ id }) => id),
  };
  await createFile(layout.meshFile, `${JSON.stringify(content, null, 2)}\n`);
  return content;
}

/** The rename at the end decides; this says it before the work is done. */
async function checkVacant(root: string): Promise<void> {
  try {
    if ((await readdir(root)).length > 0) throw directoryTaken(root);
  } catch (cause) {
    const code = systemErrorCode(cause);
    if (code === 'ENOTDIR') throw directoryTaken(root, cause);
    if (code !== 'ENOENT') throw cause;
  }
}

/** The first folder: whether one can be made there at all shows before any key is. */
async function beginBuilding(root: string, building: string): Promise<void> {
  try {
    await makePath(dirname(root));
    await rm(building, { recursive: true, force: true });
    await makeDirectory(building);
  } catch (cause) {
    const code = systemErrorCode(cause);
    if (code === undefined || !unwritableCodes.has(code)) throw cause;
    throw new CliFault({
      code: 'DIRECTORY_UNWRITABLE',
      reason: `no folder can be made in ${dirname(root)} (${code})`,
      hint: 'Name a place that you may write to: gyre up --dir D.',
      cause,
    });
  }
}

async function moveIntoPlace(building: string, root: string): Promise<void> {
  try {
    await rename(building, root);
  } catch (cause) {
    const code = systemErrorCode(cause);
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST' && code !== 'ENOTDIR') throw cause;
    if ((await findMesh(root)) === null) throw directoryTaken(root, cause);
    throw new CliFault({
      code: 'MESH_MADE',
      reason: `another gyre up has just made a mesh in ${root}`,
      hint: `Use that one: gyre status --dir ${typed(root)}.`,
      cause,
    });
  }
  await syncDirectory(dirname(root));
}

function directoryTaken(root: string, cause?: unknown): CliFault {
  return new CliFault({
    code: 'DIRECTORY_TAKEN',
    reason: `${root} is there already and holds something other than a mesh`,
    hint: 'Name an empty or new folder: gyre up --dir D.',
    cause,
  });
}

function checkSocketPaths(root: string, services: boolean): void {
  const layout = layoutOf(root);
  const sockets = [
    ...agents.map(({ id }) => layout.keyServiceSocket(id)),
    ...(services ? serviceSocketsOf(layout) : []),
  ];
  const lengths = sockets.map((socket) => Buffer.byteLength(socket));
  if (Math.max(...lengths) <= socketPathBytesMax) return;
  throw usageFault(
    `the path ${root} is too long: unix sockets in it would exceed ${socketPathBytesMax} bytes`,
    'Choose a shorter one with --dir.',
  );
}

function validFrom(nowMs: number): Validity {
  return {
    issuedAt: new Date(nowMs - backdatedMs).toISOString(),
    expiresAt: new Date(nowMs + validMs).toISOString(),
  };
}

/** As Promise.all, but fails only once all three have ended: then nothing writes any more. */
async function settled<A, B, C>(
  first: Promise<A>,
  second: Promise<B>,
  third: Promise<C & PreparedSigner>,
): Promise<[A, B, C & PreparedSigner]> {
  const [a, b, c] = await Promise.allSettled([first, second, third]);
  if (a.status === 'fulfilled' && b.status === 'fulfilled' && c.status === 'fulfilled') {
    return [a.value, b.value, c.value];
  }
  if (c.status === 'fulfilled') await c.value.token.close();
  throw [a, b, c].find((result) => result.status === 'rejected')?.reason;
}
