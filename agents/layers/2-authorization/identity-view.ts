/**
 * What layer 2 knows of layer 1: the keys of session tokens and the identity keys. Looked at again every
 * two seconds, and once a second at the most for a key that is not known. While layer 1 does not answer,
 * the last good answer holds; it is kept on the disk, so that it outlives this process too.
 */

import { AkpKey, IdentityKey, identityKeysCheck, keySetCheck } from '#schemas/identity.ts';
import { List, StrictObject, compile } from '#schemas/primitives.ts';
import { fromBase64Url } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
import { isNamedAs } from '../service/key-certificate.ts';
import { ServiceError, type ServiceClient } from '../service/service-client.ts';
import { storedJson } from '../service/stored-json.ts';

const file = 'identity-keys.json';
const refreshGapMs = 1_000;
/** Requests that wait for a key that may come; further ones are refused at once. */
const waitingMax = 32;
const keysMax = 64;

const Kept = StrictObject({
  session: List(AkpKey, { itemsMax: keysMax }),
  identity: List(IdentityKey, { itemsMax: keysMax }),
});
const keptCheck = compile(Kept);

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
  #waiting = 0;

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

  /** The session key of an id; layer 1 is asked where it is not known. */
  async sessionKey(keyId: string): Promise<AkpKey | undefined> {
    const known = this.#sessionKey(keyId);
    if (known !== undefined || this.#waiting >= waitingMax) return known;
    this.#waiting += 1;
    try {
      await this.#pause();
      if (this.#sessionKey(keyId) === undefined) await this.refresh();
    } catch (error) {
      // The last good answer holds, whether or not the key is in it.
      if (!(error instanceof ServiceError) && !(error instanceof AdapterError)) throw error;
    } finally {
      this.#waiting -= 1;
    }
    return this.#sessionKey(keyId);
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

  /** Until layer 1 may be asked again, or has just been asked by others. */
  async #pause(): Promise<void> {
    const { clock } = this.#ports;
    const leftMs = this.#askedAtMs + refreshGapMs - clock.monotonicMs();
    if (leftMs <= 0) return;
    await new Promise<void>((resolve) => {
      clock.after(leftMs, resolve);
    });
  }

  async #ask(): Promise<void> {
    const { clock, peer, crypto, disk } = this.#ports;
    this.#askedAtMs = clock.monotonicMs();
    const [session, identity] = await Promise.all([
      answerOf(peer(), '/v1/jwks', keySetCheck),
      answerOf(peer(), '/v1/identity-keys', identityKeysCheck),
    ]);
    const isNamed = (text: string, keyId: string): boolean => {
      const bytes = fromBase64Url(text);
      return bytes !== undefined && isNamedAs(crypto, bytes, keyId);
    };
    const known = {
      session: session.keys.filter(({ pub, kid }) => isNamed(pub, kid)),
      identity: identity.keys.filter(({ publicKey, keyId }) => isNamed(publicKey, keyId)),
    };
    const text = JSON.stringify(known);
    if (text === JSON.stringify(this.#known)) return;
    this.#known = known;
    try {
      disk.replaceFile(file, Buffer.from(text));
    } catch (cause) {
      // It holds in this process; after a start layer 1 is asked again.
      const what = 'the keys of layer 1 were not kept';
      throw new AdapterError('STORE_FAILED', what, { cause, retryable: true });
    }
  }
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

/** What is damaged is as good as nothing: layer 1 is asked again. */
function kept(disk: Disk): Known | undefined {
  const bytes = disk.readFile(file);
  if (bytes === undefined) return undefined;
  const value = storedJson(Buffer.from(bytes).toString('utf8'));
  return keptCheck.check(value) ? value : undefined;
}
