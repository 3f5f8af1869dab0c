import { describe, expect, it } from 'vitest';
import {
  announcementFault,
  capsuleDigest,
  entitledDigest,
  newHybridKey,
  openCapsule,
  openSecrets,
  sealCapsule,
  sealSecrets,
  secretCommitment,
} from '#shared/crypto/epoch-capsule.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';

const native = createNativeProvider();
const noble = createNobleProvider();
const name = { mesh: 'test', channel: 'saga', epoch: 7 };
const secret = native.randomBytes(32);
const prekey = newHybridKey(native);
const shown = { prekeyId: prekey.keyId, publicKey: prekey.publicKey };
const capsule = sealCapsule(native, { ...name, agentId: 'auditor', prekey: shown, secret });

describe('a capsule', () => {
  it.each([
    [native, noble],
    [noble, native],
  ])('opens under both providers', (sealer, opener) => {
    const sealed = sealCapsule(sealer, { ...name, agentId: 'auditor', prekey: shown, secret });
    expect(openCapsule(opener, { ...name, capsule: sealed, prekey })).toEqual(secret);
  });

  it('opens with its own prekey alone', () => {
    const other = newHybridKey(native);
    expect(openCapsule(native, { ...name, capsule, prekey: other })).toBeUndefined();
    const renamed = { ...capsule, prekeyId: other.keyId };
    expect(openCapsule(native, { ...name, capsule: renamed, prekey: other })).toBeUndefined();
  });

  it('opens for its mesh, channel, epoch and member alone', () => {
    for (const changed of [{ mesh: 'other' }, { channel: 'mesh' }, { epoch: 8 }]) {
      expect(openCapsule(native, { ...name, ...changed, capsule, prekey })).toBeUndefined();
    }
    const stolen = { ...capsule, agentId: 'signer' };
    expect(openCapsule(native, { ...name, capsule: stolen, prekey })).toBeUndefined();
  });

  it('does not open once a bit of it is another', () => {
    for (const part of ['kemCiphertext', 'sealedSecret'] as const) {
      for (const at of [0, capsule[part].length - 1]) {
        const bytes = new Uint8Array(capsule[part]);
        bytes[at] = (bytes[at] ?? 0) ^ 1;
        const changed = { ...capsule, [part]: bytes };
        expect(openCapsule(native, { ...name, capsule: changed, prekey })).toBeUndefined();
      }
    }
  });

  it('is never sealed the same way twice', () => {
    const again = sealCapsule(native, { ...name, agentId: 'auditor', prekey: shown, secret });
    expect(capsuleDigest(native, again)).not.toBe(capsuleDigest(native, capsule));
  });
});

describe('a commitment', () => {
  it('is of one secret in one mesh, channel and epoch', () => {
    const commitment = secretCommitment(native, name, secret);
    expect(secretCommitment(noble, name, secret)).toBe(commitment);
    for (const changed of [{ mesh: 'other' }, { channel: 'mesh' }, { epoch: 8 }]) {
      expect(secretCommitment(native, { ...name, ...changed }, secret)).not.toBe(commitment);
    }
    expect(secretCommitment(native, name, native.randomBytes(32))).not.toBe(commitment);
  });
});

describe('an announcement', () => {
  const member = { agent_id: 'auditor', capsule_digest: capsuleDigest(native, capsule) };
  const body = {
    kind: 'epoch_announcement' as const,
    ...name,
    cause: 'time' as const,
    secret_commitment: secretCommitment(native, name, secret),
    members: [member],
    entitled_digest: '0'.repeat(64),
    issued_at: new Date(0).toISOString(),
  };

  it('belongs to the capsules that it names, and to its entry', () => {
    const faultOf = (changes: Partial<typeof body>, capsules = [capsule]) =>
      announcementFault(native, name, { body: { ...body, ...changes }, capsules });
    expect(faultOf({})).toBeUndefined();
    expect(faultOf({ epoch: 8 })).toBe('ANNOUNCEMENT_MISMATCH');
    expect(faultOf({ mesh: 'other' })).toBe('ANNOUNCEMENT_MISMATCH');
    expect(faultOf({}, [])).toBe('CAPSULES_MISMATCH');
    expect(faultOf({ members: [member, member] }, [capsule, capsule])).toBe('CAPSULES_MISMATCH');
    const other = sealCapsule(native, { ...name, agentId: 'auditor', prekey: shown, secret });
    expect(faultOf({}, [other])).toBe('CAPSULES_MISMATCH');
  });

  it('is for a set of agents and keys, in whatever order they come', () => {
    const one = { agentId: 'auditor', keyId: 'a'.repeat(64) };
    const two = { agentId: 'signer', keyId: 'b'.repeat(64) };
    const digest = entitledDigest(native, 'saga', [one, two]);
    expect(entitledDigest(native, 'saga', [two, one])).toBe(digest);
    expect(entitledDigest(native, 'saga', [one])).not.toBe(digest);
    expect(entitledDigest(native, 'mesh', [one, two])).not.toBe(digest);
    expect(entitledDigest(native, 'saga', [one, { ...two, keyId: one.keyId }])).not.toBe(digest);
  });
});

describe('an answer with secrets', () => {
  const key = newHybridKey(native);
  const secrets = [{ channel: 'saga', epoch: 7, secret, standing: 'active' as const }];
  const answer = sealSecrets(native, { mesh: 'test', asker: 'auditor', secrets, ...key });

  it('opens for who asked, with the key of the question', () => {
    const scope = { mesh: 'test', asker: 'auditor', key, answer };
    expect(openSecrets(noble, scope)).toEqual(secrets);
    expect(openSecrets(native, { ...scope, asker: 'signer' })).toBeUndefined();
    expect(openSecrets(native, { ...scope, mesh: 'other' })).toBeUndefined();
    expect(openSecrets(native, { ...scope, key: newHybridKey(native) })).toBeUndefined();
  });
});
