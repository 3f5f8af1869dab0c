/**
 * A small mesh in memory for tests: real keys, real documents, real channel secrets, principals over
 * the in-memory bus. Nothing is mocked; only processes, disks and the network are missing. Who brings a
 * provider and clocks of his own gets the same mesh under them.
 */

import type { TrustBundle } from '#schemas/trust.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { MemoryBroker } from '#shared/bus/memory-broker.ts';
import { provisionPlan } from '#shared/bus/streams.ts';
import type { BusClock } from '#shared/bus/timers.ts';
import { toBase64Url } from '#shared/crypto/bytes.ts';
import { noticesSecret, StaticKeyring, type ChannelKeyring } from '#shared/crypto/keyring.ts';
import type { SigningKey } from '#shared/crypto/key-handle.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { documentDigest, localSigner, signDocument } from '#shared/crypto/signed-document.ts';
import { openTrust, type TrustView } from '#shared/crypto/trust.ts';
import { Principal } from '#shared/runtime/principal.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import { members, type Member } from '#cli/mesh/members.ts';
import { archiveChannel, archiveEpoch, channelsOf } from '#shared/core/channels.ts';
import { developmentTimes, policyBody } from '#cli/mesh/policy-body.ts';
import { registryBody } from '#cli/mesh/registry-body.ts';
import { freshCeremony, holdCeremony, type Ceremony, type TestAnchor } from './ceremony.ts';

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

export interface World<WorldClock extends Clock = TestClock> extends Genesis {
  readonly mesh: string;
  readonly broker: MemoryBroker;
  readonly crypto: CryptoProvider;
  readonly clock: WorldClock;
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

/** What a world may be made under, in place of the real provider and real time. */
export interface WorldPorts<WorldClock extends Clock> {
  readonly crypto: CryptoProvider;
  readonly clock: WorldClock;
  readonly brokerClock: BusClock;
  /** Of the same members; with a provider of its own a world holds a ceremony of its own, unless given. */
  readonly genesis?: Genesis;
}

/** What a mesh begins with. Nothing changes it, so that many worlds may begin with the same. */
export interface Genesis {
  readonly bundle: TrustBundle;
  readonly rootDigest: string;
  readonly trust: TrustView;
  /** Keys of the roles and of every member, by name. */
  readonly keys: ReadonlyMap<string, SigningKey>;
  /** Of the operators: they sign roots a second time. */
  readonly anchors: ReadonlyMap<string, TestAnchor>;
}

const dayMs = 24 * 3_600_000;

export function makeWorld(options?: WorldOptions): Promise<World>;
export function makeWorld<WorldClock extends Clock>(
  options: WorldOptions,
  ports: WorldPorts<WorldClock>,
): Promise<World<WorldClock>>;
export async function makeWorld(
  options: WorldOptions = {},
  ports?: WorldPorts<Clock>,
): Promise<World<Clock>> {
  const mesh = options.mesh ?? 'test';
  const enrolled = options.members ?? members;
  const { crypto: provider, clock } = ports ?? { crypto, clock: new TestClock() };
  const base = { mesh, crypto: provider, clock, enrolled };
  const genesis =
    ports?.genesis ??
    (await genesisOf(
      base,
      await (ports === undefined ? keptCeremony(base, options) : newCeremony(base)),
      options.times,
    ));
  const { trust, keys } = genesis;
  const principals = enrolled.map(({ id, kind, layer }) => ({
    id,
    kind,
    ...(layer === undefined ? {} : { layer }),
  }));
  const plan = provisionPlan({ mesh, principals, replicas: 1 });
  const broker = new MemoryBroker(plan, ports?.brokerClock);
  const secrets = new Map<string, Uint8Array>();
  const keyring = (agentId: string): StaticKeyring =>
    keyringOf(base, secrets, named(enrolled, agentId));
  const bus = (agentId: string): Bus =>
    broker.connect({ principal: named(principals, agentId), onTrouble: () => undefined });
  return {
    ...genesis,
    mesh,
    broker,
    crypto: provider,
    clock,
    bus,
    newTrust: () => trust.atGenesis(),
    keyring,
    principal: (agentId, choices = {}) => {
      named(enrolled, agentId);
      const { observesAll, catchUp, isLockedOut } = choices;
      return new Principal({
        agentId,
        crypto: provider,
        trust: choices.trust ?? trust,
        signingKey: choices.signingKey ?? keyNamed(keys, agentId),
        keyring: choices.keyring ?? keyring(agentId),
        bus: choices.bus ?? bus(agentId),
        clock,
        log: quiet,
        ...(observesAll === undefined ? {} : { observesAll }),
        ...(catchUp === undefined ? {} : { catchUp }),
        ...(isLockedOut === undefined ? {} : { isLockedOut }),
      });
    },
  };
}

interface WorldBase {
  readonly mesh: string;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly enrolled: readonly Member[];
}

/** A genesis for many worlds under one provider and from one date on. */
export async function makeGenesis(
  options: WorldOptions,
  { crypto: provider, clock }: Pick<WorldPorts<Clock>, 'crypto' | 'clock'>,
): Promise<Genesis> {
  const { mesh = 'test', members: enrolled = members } = options;
  const base = { mesh, crypto: provider, clock, enrolled };
  return genesisOf(base, await newCeremony(base), options.times);
}

function keptCeremony(base: WorldBase, { ceremony: name = 'first' }: WorldOptions) {
  return holdCeremony(base.crypto, { mesh: base.mesh, operators: operatorsOf(base), name });
}

function newCeremony(base: WorldBase): Promise<Ceremony> {
  const { mesh, clock } = base;
  const options = { mesh, operators: operatorsOf(base), nowMs: clock.nowMs() };
  return freshCeremony(base.crypto, options);
}

/** Keys of all members, and the documents that vouch for them. */
async function genesisOf(
  base: WorldBase,
  ceremony: Ceremony,
  times = developmentTimes,
): Promise<Genesis> {
  const { mesh, crypto: provider, clock, enrolled } = base;
  const others = enrolled.filter(({ kind }) => kind !== 'operator');
  const keys = new Map([
    ...ceremony.keys,
    ...others.map(({ id }): [string, SigningKey] => [
      id,
      provider.importSigningSeed(provider.randomBytes(32)),
    ]),
  ]);
  const validity = {
    issuedAt: new Date(clock.nowMs() - 1000).toISOString(),
    expiresAt: new Date(clock.nowMs() + 30 * dayMs).toISOString(),
  };
  const signers = operatorsOf(base).map((id) => localSigner(provider, keyNamed(keys, id)));
  const enrolment = localSigner(provider, keyNamed(keys, 'enrolment'));
  const enrolments = enrolled.map((member) => {
    const body = enrolmentOf(base, member, { ...validity, key: keyNamed(keys, member.id) });
    return signDocument(body, [enrolment]);
  });
  const bundle: TrustBundle = {
    root: ceremony.root,
    registry: await signDocument(registryBody(mesh, validity, {}), signers),
    policy: await signDocument(policyBody(mesh, validity, times), signers),
    enrolments: await Promise.all(enrolments),
  };
  const rootDigest = documentDigest(provider, ceremony.root.body);
  const opened = openTrust(provider, { bundle, rootDigest, nowMs: clock.nowMs() });
  if (opened.status !== 'ok') throw new Error(`${opened.code}: ${opened.reason}`);
  return { bundle, rootDigest, trust: opened.trust, keys, anchors: ceremony.anchors };
}

function operatorsOf({ enrolled }: WorldBase): string[] {
  return enrolled.filter(({ kind }) => kind === 'operator').map(({ id }) => id);
}

function keyNamed(keys: ReadonlyMap<string, SigningKey>, name: string): SigningKey {
  const key = keys.get(name);
  if (key === undefined) throw new Error(`no key for ${name}`);
  return key;
}

function named<Named extends { readonly id: string }>(
  all: readonly Named[],
  agentId: string,
): Named {
  const found = all.find(({ id }) => id === agentId);
  if (found === undefined) throw new Error(`${agentId} is not a member`);
  return found;
}

function keyringOf(
  { mesh, crypto: provider }: WorldBase,
  secrets: Map<string, Uint8Array>,
  member: Member,
): StaticKeyring {
  return new StaticKeyring([
    noticesSecret(provider, mesh),
    ...heldBy(member).map((channel) => {
      const secret = secrets.get(channel) ?? provider.randomBytes(32);
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
  { mesh, crypto: provider }: WorldBase,
  member: Member,
  { issuedAt, expiresAt, key }: { issuedAt: string; expiresAt: string; key: SigningKey },
) {
  const kem = provider.importKemSeed(provider.randomBytes(64));
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  const nkey = [...provider.randomBytes(55)].map((byte) => letters[byte % 32]).join('');
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
