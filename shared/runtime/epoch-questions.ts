/**
 * `epoch-secrets`: how a member that starts, or that missed an epoch, gets the secrets of its channels,
 * and how those who hold them give them. The answer is sealed for a hybrid key that was drawn for this
 * one question, so that nothing on the wire or on a disk opens it later; and no secret is taken that an
 * announcement of the signer does not commit to.
 */

import {
  epochsWantedMax,
  EpochSecretsAnswer,
  secretsGivenMax,
  type EpochAnnouncement,
  type EpochSecretsGiven,
} from '#schemas/epoch.ts';
import { compile } from '#schemas/primitives.ts';
import type { Query } from '#schemas/queries.ts';
import { BusError } from '#shared/bus/bus.ts';
import { archiveChannel, channelsOf, noticesChannel } from '#shared/core/channels.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import {
  newHybridKey,
  openSecrets,
  sealSecrets,
  secretCommitment,
} from '#shared/crypto/epoch-capsule.ts';
import type { EpochKeyring } from '#shared/crypto/epoch-keyring.ts';
import { CryptoError } from '#shared/crypto/errors.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Enrolled, TrustView } from '#shared/crypto/trust.ts';
import type { Answer, Exchange } from './exchange.ts';
import type { Log } from './ports.ts';

export type SecretGiven = EpochSecretsGiven[number] & {
  /** Absent where the asker knows it from the log, and for the archive key. */
  readonly announcement?: EpochAnnouncement;
};

/** Announcements that this member has seen or was given, by channel and epoch. */
export interface AnnouncementsKnown {
  announcementOf(channel: string, epoch: number): EpochAnnouncement | undefined;
}

export interface EpochName {
  readonly channel: string;
  readonly epoch: number;
}

/** What one giver gave. */
export interface GivenSecrets {
  readonly given: readonly SecretGiven[];
  /** Secrets of this member's channels that no announcement came with: to be asked for by name. */
  readonly unvouched: readonly EpochName[];
}

export interface QuestionPorts {
  readonly agentId: string;
  readonly crypto: CryptoProvider;
  readonly trust: TrustView;
  readonly exchange: Exchange;
  readonly log: Log;
}

const answerCheck = compile(EpochSecretsAnswer);
const askTimeoutMs = 1_000;
/** Announcements of one channel that an answer holds unasked: the pending, the active, the last one. */
const announcementsPerChannel = 3;
/** What is left for announcements beside the secrets in one answer. */
const announcementBytesMax = 190 * 1024;

/** Who may be asked: the signer, which keeps them at rest, then the orchestrators. */
export function giversOf(trust: TrustView, asker: string): string[] {
  const ids = (kind: 'signer' | 'orchestrator') =>
    trust
      .agents()
      .filter((agent) => agent.kind === kind && agent.agentId !== asker)
      .map(({ agentId }) => agentId)
      .toSorted();
  return [...ids('signer'), ...ids('orchestrator')];
}

/**
 * What one giver gives and an announcement vouches for; undefined where it does not answer. `wanted`:
 * epochs whose announcements the asker lacks; the first 24 count.
 */
export async function askEpochSecrets(
  ports: QuestionPorts,
  known: AnnouncementsKnown,
  { giver, wanted }: { readonly giver: string; readonly wanted: readonly EpochName[] },
): Promise<GivenSecrets | undefined> {
  const { agentId, crypto, trust, exchange, log } = ports;
  const key = newHybridKey(crypto);
  try {
    const names = wanted
      .slice(0, epochsWantedMax)
      .map(({ channel, epoch }) => ({ channel, epoch }));
    const query = {
      ask: 'epoch-secrets' as const,
      publicKey: key.publicKey,
      ...(names.length === 0 ? {} : { wanted: names }),
    };
    const to = { agentId: giver, channel: noticesChannel };
    const answer = await exchange.ask(to, query, askTimeoutMs);
    if (!answer.ok || !answerCheck.check(answer.result)) return undefined;
    const scope = { mesh: trust.mesh, asker: agentId, key, answer: answer.result };
    const given = openSecrets(crypto, scope);
    if (given === undefined) {
      log.warn({ giver }, 'an answer to epoch-secrets does not open');
      return undefined;
    }
    return vouched(ports, known, { giver, given, announcements: answer.result.announcements });
  } catch (error) {
    if (!(error instanceof BusError)) throw error;
    return undefined;
  } finally {
    key.secret.fill(0);
  }
}

/** Overwrites what no announcement commits to. */
function vouched(
  { agentId, crypto, trust, log }: QuestionPorts,
  known: AnnouncementsKnown,
  answer: {
    readonly giver: string;
    readonly given: EpochSecretsGiven;
    readonly announcements: readonly EpochAnnouncement[];
  },
): GivenSecrets {
  const { mesh } = trust;
  const self = trust.agent(agentId);
  const mine = new Set(self === undefined ? [] : channelsOf(self));
  const isFromSigner = trust.agent(answer.giver)?.kind === 'signer';
  const unvouched: EpochName[] = [];
  const given = answer.given.flatMap((entry): SecretGiven[] => {
    const { channel, epoch, secret } = entry;
    if (channel === archiveChannel && isFromSigner && self?.kind === 'auditor') return [entry];
    const announcement =
      known.announcementOf(channel, epoch) ??
      answer.announcements.find(({ body }) => body.channel === channel && body.epoch === epoch);
    const holds =
      mine.has(channel) &&
      announcement?.body.mesh === mesh &&
      trust.verifyStatement(announcement, 'orchestration') === 'ok' &&
      announcement.body.secret_commitment ===
        secretCommitment(crypto, { mesh, channel, epoch }, secret);
    if (holds) return [{ ...entry, announcement }];
    secret.fill(0);
    if (announcement === undefined && mine.has(channel)) unvouched.push({ channel, epoch });
    else log.warn({ giver: answer.giver, channel, epoch }, 'a secret that nothing vouches for');
    return [];
  });
  return { given, unvouched };
}

export interface GivingPorts {
  readonly crypto: CryptoProvider;
  readonly trust: TrustView;
  readonly keyring: EpochKeyring;
  readonly known: AnnouncementsKnown;
}

/** The answer of a holder to an enrolled asker: the secrets of the asker's own channels. */
export function giveEpochSecrets(
  { crypto, trust, keyring, known }: GivingPorts,
  asker: Enrolled,
  query: Extract<Query, { ask: 'epoch-secrets' }>,
): Answer {
  const theirs = new Set(channelsOf(asker));
  if (asker.kind === 'auditor') theirs.add(archiveChannel);
  const ranked = new Map<string, number>();
  const secrets = keyring
    .held()
    .filter(({ channel }) => theirs.has(channel))
    .map((entry) => {
      const rank = ranked.get(entry.channel) ?? 0;
      ranked.set(entry.channel, rank + 1);
      return { rank, entry };
    })
    .toSorted((left, right) => left.rank - right.rank)
    .slice(0, secretsGivenMax);
  const wanted = new Set((query.wanted ?? []).map(({ channel, epoch }) => `${channel}/${epoch}`));
  const isWanted = ({ channel, epoch }: EpochName): boolean => wanted.has(`${channel}/${epoch}`);
  const announcements: EpochAnnouncement[] = [];
  let bytes = 0;
  for (const { entry } of [
    ...secrets.filter(({ entry: each }) => isWanted(each)),
    ...secrets.filter(({ rank, entry: each }) => rank < announcementsPerChannel && !isWanted(each)),
  ]) {
    const announcement = known.announcementOf(entry.channel, entry.epoch);
    if (announcement === undefined) continue;
    bytes += encodeCanonical(announcement).length;
    if (bytes > announcementBytesMax) break;
    announcements.push(announcement);
  }
  const scope = { mesh: trust.mesh, asker: asker.agentId, publicKey: query.publicKey };
  try {
    const sealed = sealSecrets(crypto, { ...scope, secrets: secrets.map(({ entry }) => entry) });
    return { ok: true, result: { ...sealed, announcements } };
  } catch (error) {
    if (!(error instanceof CryptoError)) throw error;
    return { ok: false, code: 'ORCH-8012', reason: 'the key is no X25519MLKEM1024 public key' };
  }
}
