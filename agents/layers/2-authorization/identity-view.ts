/**
 * What layer 2 knows of layer 1: the keys of session tokens and the identity keys. Looked at again every
 * two seconds; layer 1 names a key as soon as it is prepared, so a key is known before it signs. While
 * layer 1 does not answer, the last good answer holds; it is kept on the disk and outlives this process.
 *
 * Where a key was prepared and turned within those two seconds, or is made up, layer 1 is asked: twenty
 * times a second at the most, one question for all who came before it was sent. Whoever shows a key that
 * is known waits for nothing. Others wait for less than a second, whatever layer 1 and its client do; for
 * so many keys at once, and while layer 1 is silent so many in all, that most of layer 3's connections
 * stay free. A key that layer 1 has said not to have is not asked for again for a moment: nobody can show
 * a key before layer 1 names it. A session is refused only where layer 1 has said that there is no such key.
 */

import { AkpKey, IdentityKey, identityKeysCheck, keySetCheck } from '#schemas/identity.ts';
import { List, StrictObject, compile } from '#schemas/primitives.ts';
import { fromBase64Url } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
import { isNamedAs } from '../service/key-certificate.ts';
import { Refused } from '../service/http-app.ts';
import { ServiceError, type ServiceClient } from '../service/service-client.ts';
import { storedJson } from '../service/stored-json.ts';

const file = 'identity-keys.json';
const refreshGapMs = 50;
/** Unknown keys that are waited for at once; and requests that wait while layer 1 is silent. */
export const waitingMax = 64;
/** How long a request waits for a key that may come; of real time, as the answers of layer 1 are. */
export const waitMsMax = 900;
/** For how long a key is none once layer 1 has said so. */
const absentMs = 1_000;
const absentMax = 1_024;
const keysMax = 64;

const Kept = StrictObject({
  session: List(AkpKey, { itemsMax: keysMax }),
  identity: List(IdentityKey, { itemsMax: keysMax }),
});
const keptCheck = compile(Kept);

/** What it is answered with that nobody knows yet whether a key is layer 1's, and the HTTP status. */
export const identityStatus = { SESSION_KEY_PENDING: 503 } as const;
export type IdentityViewCode = keyof typeof identityStatus;

interface Known {
  readonly session: AkpKey[];
  readonly identity: IdentityKey[];
}

export interface IdentityViewPorts {
  readonly disk: Disk;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  /** Layer 1. */
  readonly peer: () => ServiceClient;
}

export class IdentityView {
  readonly #ports: IdentityViewPorts;
  #known: Known;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;
  /** Whether layer 1 answered the question that is not sent yet: whoever comes now shares it. */
  #next: Promise<boolean> | undefined;
  /** How many wait for each key. */
  readonly #waiting = new Map<string, number>();
  #waitingInAll = 0;
  /** Whether the last question was not answered, or not in time. */
  #isSilent = false;
  /** Keys that layer 1 said not to have, and when; the oldest first. */
  readonly #absent = new Map<string, number>();
  /** What the disk holds, as far as is known. */
  #keptText: string | undefined;

  private constructor(ports: IdentityViewPorts, known: Known) {
    this.#ports = ports;
    this.#known = known;
  }

  static restore(ports: IdentityViewPorts): IdentityView {
    return new IdentityView(ports, kept(ports.disk) ?? { session: [], identity: [] });
  }

  get identityKeys(): readonly IdentityKey[] {
    return this.#known.identity;
  }

  get primaryIdentityKeyId(): string | undefined {
    return this.#known.identity.find(({ state }) => state === 'primary')?.keyId;
  }

  /**
   * The session key of an id, or undefined where layer 1 has none of that id: it is asked where the key
   * is not known. @throws Refused SESSION_KEY_PENDING where it does not answer, or too many wait
   */
  async sessionKey(keyId: string): Promise<AkpKey | undefined> {
    const known = this.#sessionKey(keyId);
    if (known !== undefined || this.#isAbsent(keyId)) return known;
    const waiting = this.#waiting.get(keyId) ?? 0;
    const hasRoom = waiting > 0 || this.#waiting.size < waitingMax;
    if (!hasRoom || (this.#isSilent && this.#waitingInAll >= waitingMax)) {
      throw pending('too many sessions wait for their key');
    }
    this.#waiting.set(keyId, waiting + 1);
    this.#waitingInAll += 1;
    try {
      const isAnswered = await inTime((this.#next ??= this.#askNext()), waitMsMax);
      const found = this.#sessionKey(keyId);
      if (found === undefined && isAnswered !== true) {
        this.#isSilent = true;
        throw pending('layer 1 does not answer');
      }
      if (found === undefined) this.#noteAbsent(keyId);
      return found;
    } finally {
      this.#waitingInAll -= 1;
      const left = (this.#waiting.get(keyId) ?? 1) - 1;
      if (left > 0) this.#waiting.set(keyId, left);
      else this.#waiting.delete(keyId);
    }
  }

  /** Asks layer 1; whoever comes meanwhile shares the answer. @throws ServiceError, AdapterError */
  refresh(): Promise<void> {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  #sessionKey(keyId: string): AkpKey | undefined {
    return this.#known.session.find(({ kid }) => kid === keyId);
  }

  #isAbsent(keyId: string): boolean {
    const atMs = this.#absent.get(keyId);
    return atMs !== undefined && this.#ports.clock.monotonicMs() - atMs < absentMs;
  }

  #noteAbsent(keyId: string): void {
    this.#absent.delete(keyId);
    const [oldest] = this.#absent.keys();
    if (oldest !== undefined && this.#absent.size >= absentMax) this.#absent.delete(oldest);
    this.#absent.set(keyId, this.#ports.clock.monotonicMs());
  }

  /** A question that is sent after all who wait for it have come; false where layer 1 is silent. */
  async #askNext(): Promise<boolean> {
    try {
      await this.#pause();
      this.#next = undefined;
      await this.refresh();
      return true;
    } catch (error) {
      // The answer holds that could not be kept.
      if (error instanceof AdapterError) return true;
      if (error instanceof ServiceError) return false;
      throw error;
    }
  }

  /** Until layer 1 may be asked again: what was asked earlier may be older than the key. */
  async #pause(): Promise<void> {
    const { clock } = this.#ports;
    for (;;) {
      const leftMs = this.#askedAtMs + refreshGapMs - clock.monotonicMs();
      if (leftMs > 0) {
        await new Promise<void>((resolve) => {
          clock.after(leftMs, resolve);
        });
      } else if (this.#asking === undefined) return;
      else await this.#asking.then(undefined, () => undefined);
    }
  }

  async #ask(): Promise<void> {
    const { clock, peer, crypto, disk } = this.#ports;
    this.#askedAtMs = clock.monotonicMs();
    const answers = Promise.all([
      answerOf(peer(), '/v1/jwks', keySetCheck),
      answerOf(peer(), '/v1/identity-keys', identityKeysCheck),
    ]);
    answers.then(
      () => (this.#isSilent = false),
      () => (this.#isSilent = true),
    );
    const [session, identity] = await answers;
    const isNamed = (text: string, keyId: string): boolean => {
      const bytes = fromBase64Url(text);
      return bytes !== undefined && isNamedAs(crypto, bytes, keyId);
    };
    const known = {
      session: session.keys.filter(({ pub, kid }) => isNamed(pub, kid)),
      identity: identity.keys.filter(({ publicKey, keyId }) => isNamed(publicKey, keyId)),
    };
    // A key that is gone is not taken any more, and one that is new is, whatever the disk does.
    this.#known = known;
    const text = JSON.stringify(known);
    if (text === this.#keptText) return;
    try {
      disk.replaceFile(file, Buffer.from(text));
      this.#keptText = text;
    } catch (cause) {
      // Tried again with the next answer, also where that one is the same.
      const what = 'the keys of layer 1 were not kept';
      throw new AdapterError('STORE_FAILED', what, { cause, retryable: true });
    }
  }
}

function pending(reason: string): Refused {
  return new Refused<IdentityViewCode>('SESSION_KEY_PENDING', reason, { retryable: true });
}

async function answerOf<Answer>(
  peer: ServiceClient,
  path: string,
  check: { check(value: unknown): value is Answer },
): Promise<Answer> {
  const answer = await peer.ask({ method: 'GET', path });
  if (answer.status === 'done' && check.check(answer.body)) return answer.body;
  throw new ServiceError('ANSWER_MALFORMED', 'layer 1 gave no valid answer');
}

/** What comes of it, or undefined where nothing has by then. */
async function inTime<Result>(
  work: Promise<Result>,
  timeoutMs: number,
): Promise<Result | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), timeoutMs);
  });
  try {
    return await Promise.race([work, over]);
  } finally {
    clearTimeout(timer);
  }
}

/** What is damaged is as good as nothing: layer 1 is asked again. */
function kept(disk: Disk): Known | undefined {
  const bytes = disk.readFile(file);
  if (bytes === undefined) return undefined;
  const value = storedJson(Buffer.from(bytes).toString('utf8'));
  return keptCheck.check(value) ? value : undefined;
}
