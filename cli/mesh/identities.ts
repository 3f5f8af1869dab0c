/**
 * The keys of every member of a new mesh: identity (ML-DSA-87), KEM (ML-KEM-1024), connection (NKEY)
 * and, of operators, the anchor (SLH-DSA-SHAKE-256s) that signs roots beside the identity. Secrets are
 * made here, written to files of mode 0600 and wiped; only handles stay.
 */
import { join } from 'node:path';
import type { EnrolmentBody } from '#schemas/trust.ts';
import { createNkey } from '#shared/bus/nkeys.ts';
import { toBase64Url } from '#shared/crypto/bytes.ts';
import type { KemPublicKey, SigningKey, SlhDsaSigningKey } from '#shared/crypto/key-handle.ts';
import { sizes, type CryptoProvider } from '#shared/crypto/provider.ts';
import { createFile, makeDirectory } from './durable-files.ts';
import { memberFiles, type MeshLayout } from './layout.ts';
import type { Member } from './members.ts';
import type { Validity } from './registry-body.ts';

export interface Identity {
  readonly member: Member;
  readonly signingKey: SigningKey;
  readonly kemKey: KemPublicKey;
  /** Public NKEY. */
  readonly nkey: string;
  /** Of operators. */
  readonly anchor?: Anchor;
}

export interface Anchor {
  readonly signingKey: SlhDsaSigningKey;
  /** 64 bytes. */
  readonly publicKey: Uint8Array;
}

/** Makes the keys of one member and writes their seeds into its folder of `layout`. */
export async function makeIdentity(
  crypto: CryptoProvider,
  layout: MeshLayout,
  member: Member,
): Promise<Identity> {
  const directory = layout.memberDirectory(member);
  await makeDirectory(join(directory, memberFiles.state));
  const identitySeed = crypto.randomBytes(sizes.mlDsa87.seed);
  const kemSeed = crypto.randomBytes(sizes.mlKem1024.seed);
  const { publicKey: nkey, seed: nkeySeed } = createNkey();
  try {
    const signingKey = crypto.importSigningSeed(identitySeed);
    const kemSecret = crypto.importKemSeed(kemSeed);
    kemSecret.wipe();
    await Promise.all([
      createFile(join(directory, memberFiles.identitySeed), identitySeed),
      createFile(join(directory, memberFiles.kemSeed), kemSeed),
      createFile(join(directory, memberFiles.nkeySeed), nkeySeed),
    ]);
    const identity = { member, signingKey, kemKey: kemSecret.publicKey, nkey };
    if (member.kind !== 'operator') return identity;
    return { ...identity, anchor: await makeAnchor(crypto, directory) };
  } finally {
    for (const seed of [identitySeed, kemSeed, nkeySeed]) seed.fill(0);
  }
}

async function makeAnchor(crypto: CryptoProvider, directory: string): Promise<Anchor> {
  const { secretKey, publicKey } = crypto.generateSlhDsaKey();
  try {
    await createFile(join(directory, memberFiles.anchorKey), secretKey);
    return { signingKey: crypto.importSlhDsaSecret(secretKey), publicKey };
  } finally {
    secretKey.fill(0);
  }
}

/** What the enrolment role will state about a member. */
export function enrolmentBody(
  mesh: string,
  { issuedAt, expiresAt }: Validity,
  { member, signingKey, kemKey, nkey }: Identity,
): EnrolmentBody {
  return {
    kind: 'enrolment',
    mesh,
    agent_id: member.id,
    agent_kind: member.kind,
    ...(member.layer === undefined ? {} : { layer: member.layer }),
    capabilities: [...member.capabilities],
    identity_key: { algorithm: 'ML-DSA-87', public_key: toBase64Url(signingKey.publicKey.raw) },
    kem_key: { algorithm: 'ML-KEM-1024', public_key: toBase64Url(kemKey.raw) },
    nkey,
    issued_at: issuedAt,
    expires_at: expiresAt,
  };
}
