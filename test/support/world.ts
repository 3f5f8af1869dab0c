/**
 * A small mesh in memory for tests: real keys, real documents, real channel secrets, principals over
 * the in-memory bus. Nothing is mocked; only processes, disks and the network are missing.
 */

import type { TrustBundle } from '#schemas/trust.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { MemoryBroker } from '#shared/bus/memory-broker.ts';
import { provisionPlan } from '#shared/bus/streams.ts';
import { toBase64Url } from '#shared/crypto/bytes.ts';
import { noticesSecret, StaticKeyring, type ChannelKeyring } from '#shared/crypto/keyring.ts';
import type { SigningKey } from '#shared/crypto/key-handle.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { documentDigest, localSigner, signDocument } from '#shared/crypto/signed-document.ts';
import { openTrust, type TrustView } from '#shared/crypto/trust.ts';
import { Principal } from '#shared/runtime/principal.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import { members, type Member } from '#cli/mesh/members.ts';
import { archiveChannel, archiveEpoch, channelsOf } from '#shared/core/channels.ts';
import { developmentTimes, policyBody } from '#cli/mesh/policy-body.ts';
import { registryBody } from '#cli/mesh/registry-body.ts';
import { holdCeremony, type TestAnchor } from './ceremony.ts';

export const crypto = createNativeProvider();
export const quiet: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** Real timers, and a wall clock that a test can move. */
export class TestClock implements Clock {
  offsetMs = 0;

  nowMs(): number {
    return Date.now() + this.offsetMs;
  }

  monotonicMs(): number {
    return performance.now();
  }

  after(delayMs: number, run: () => void) {
    const timer = setTimeout(run, delayMs);
    return { cancel: () => clearTimeout(timer) };
  }
}

export interface World {
  readonly mesh: string;
  readonly bundle: TrustBundle;
  readonly rootDigest: string;
  readonly trust: TrustView;
  readonly broker: MemoryBroker;
  readonly clock: TestClock;
  /** Keys of the roles and of every member, by name. */
  readonly keys: ReadonlyMap<string, SigningKey>;
  /** Of the operators: they sign roots a second time. */
  readonly anchors: ReadonlyMap<string, TestAnchor>;
  bus(agentId: string): Bus;
  /** A view of one's own, at genesis. */
  newTrust(): TrustView;
  /** Secrets of the channels that a member belongs to. */
  keyring(agentId: string): StaticKeyring;
  principal(agentId: string, options?: PrincipalChoices): Principal;
}

export interface PrincipalChoices {
  readonly bus?: Bus;
  readonly observesAll?: boolean;
  /** Signs with the key of somebody else: a thief's mistake. */
  readonly signingKey?: SigningKey;
  readonly keyring?: ChannelKeyring;
  /** Its own view; the world's, which stays at genesis, unless told. */
  readonly trust?: TrustView;
  readonly catchUp?: () => Promise<void>;
  readonly isLockedOut?: (agentId: string) => boolean;
  /** Its own clock; the world's unless told. */
  readonly clock?: Clock;
}

export interface WorldOptions {
  readonly mesh?: string;
  readonly times?: typeof developmentTimes;
  readonly members?: readonly Member[];
  /** Another name is another root, with other keys of operators and roles. */
  readonly ceremony?: string;
}

const dayMs = 24 * 3_600_000;

export async function makeWorld(options: WorldOptions = {}): Promise<World> {
  const mesh = options.mesh ?? 'test';
  const enrolled = options.members ?? members;
  const clock = new TestClock();
  const issuedAt = new Date(clock.nowMs() - 1000).toISOString();
  const expiresAt = new Date(clock.nowMs() + 30 * dayMs).toISOString();
  const operatorIds = enrolled.filter(({ kind }) => kind === 'operator').map(({ id }) => id);
  const { ceremony: name = 'first' } = options;
  const ceremony = await holdCeremony(crypto, { mesh, operators: operatorIds, name });
  const others = enrolled.filter(({ kind }) => kind !== 'operator');
  const keys = new Map([
    ...ceremony.keys,
    ...others.map(({ id }): [string, SigningKey] => [id, newKey()]),
  ]);
  const key = (name: string): SigningKey => {
    const found = keys.get(name);
    if (found === undefined) throw new Error(`no key for ${name}`);
    return found;
  };
  const operators = operatorIds.map((id) => localSigner(crypto, key(id)));
  const validity = { issuedAt, expiresAt };
  const enrolment = localSigner(crypto, key('enrolment'));
  const bundle: TrustBundle = {
    root: ceremony.root,
    registry: await signDocument(registryBody(mesh, validity, {}), operators),
    policy: await signDocument(
      policyBody(mesh, validity, options.times ?? developmentTimes),
      operators,
    ),
    enrolments: await Promise.all(
      enrolled.map((member) =>
        signDocument(enrolmentOf(mesh, member, { ...validity, key: key(member.id) }), [enrolment]),
      ),
    ),
  };
  const rootDigest = documentDigest(crypto, ceremony.root.body);
  const opened = openTrust(crypto, { bundle, rootDigest, nowMs: clock.nowMs() });
  if (opened.status !== 'ok') throw new Error(`${opened.code}: ${opened.reason}`);
  const principals = enrolled.map(({ id, kind, layer }) => ({
    id,
    kind,
    ...(layer === undefined ? {} : { layer }),
  }));
  const broker = new MemoryBroker(provisionPlan({ mesh, principals, replicas: 1 }));
  const secrets = new Map<string, Uint8Array>();
  const memberOf = (agentId: string): Member => {
    const member = enrolled.find(({ id }) => id === agentId);
    if (member === undefined) throw new Error(`${agentId} is not a member`);
    return member;
  };
  const bus = (agentId: string): Bus => {
    const principal = principals.find(({ id }) => id === agentId);
    if (principal === undefined) throw new Error(`${agentId} is not a member`);
    return broker.connect({ principal, onTrouble: () => undefined });
  };
  return {
    mesh,
    bundle,
    rootDigest,
    trust: opened.trust,
    broker,
    clock,
    keys,
    anchors: ceremony.anchors,
    bus,
    newTrust: () => opened.trust.atGenesis(),
    keyring: (agentId) => keyringOf(mesh, secrets, memberOf(agentId)),
    principal: (agentId, choices = {}) => {
      const member = memberOf(agentId);
      return new Principal({
        agentId,
        crypto,
        trust: choices.trust ?? opened.trust,
        signingKey: choices.signingKey ?? key(agentId),
        keyring: choices.keyring ?? keyringOf(mesh, secrets, member),
        bus: choices.bus ?? bus(agentId),
        clock: choices.clock ?? clock,
        log: quiet,
        ...(choices.observesAll === undefined ? {} : { observesAll: choices.observesAll }),
        ...(choices.catchUp === undefined ? {} : { catchUp: choices.catchUp }),
        ...(choices.isLockedOut === undefined ? {} : { isLockedOut: choices.isLockedOut }),
      });
    },
  };
}

function newKey(): SigningKey {
  return crypto.importSigningSeed(crypto.randomBytes(32));
}

function keyringOf(mesh: string, secrets: Map<string, Uint8Array>, member: Member): StaticKeyring {
  return new StaticKeyring([
    noticesSecret(crypto, mesh),
    ...heldBy(member).map((channel) => {
      const secret = secrets.get(channel) ?? crypto.randomBytes(32);
      secrets.set(channel, secret);
      return { channel, epoch: channel === archiveChannel ? archiveEpoch : 1, secret };
    }),
  ]);
}

/** Auditors hold the archive key too. */
function heldBy(member: Member): readonly string[] {
  return member.kind === 'auditor' ? [...channelsOf(member), archiveChannel] : channelsOf(member);
}

function enrolmentOf(
  mesh: string,
  member: Member,
  { issuedAt, expiresAt, key }: { issuedAt: string; expiresAt: string; key: SigningKey },
) {
  const kem = crypto.importKemSeed(crypto.randomBytes(64));
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  const nkey = [...crypto.randomBytes(55)].map((byte) => letters[byte % 32]).join('');
  return {
    kind: 'enrolment' as const,
    mesh,
    agent_id: member.id,
    agent_kind: member.kind,
    ...(member.layer === undefined ? {} : { layer: member.layer }),
    capabilities: [...member.capabilities],
    identity_key: { algorithm: 'ML-DSA-87' as const, public_key: toBase64Url(key.publicKey.raw) },
    kem_key: { algorithm: 'ML-KEM-1024' as const, public_key: toBase64Url(kem.publicKey.raw) },
    nkey: `U${nkey}`,
    issued_at: issuedAt,
    expires_at: expiresAt,
  };
}
