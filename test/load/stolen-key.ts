/**
 * A thief who copied layer 1's disk, key and all, before a rotation: he makes sessions that are in time
 * under the key that was primary then. They are as good as the service's own for as long as that key
 * lives, and worth nothing once it is retired, whatever they say of their time.
 */
import { copyFile, chmod, mkdtemp, rm } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { ExpiryLedger } from '#agents/layers/service/expiry-ledger.ts';
import { TokenSigner } from '#agents/layers/service/token-signer.ts';
import { sessionToken } from '#schemas/identity.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { systemClock } from '#shared/runtime/system.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';

const sessionSlot = '1/session-token';
const lastsSeconds = 60;

export class StolenKey {
  readonly #folder: string;
  readonly #keys: EmbeddedAdapter;
  readonly #ledger: DatabaseSync;
  readonly #signer: TokenSigner;

  private constructor(folder: string) {
    this.#folder = folder;
    const clock = systemClock;
    const disk = new SystemDisk(folder);
    const crypto = createNativeProvider();
    const keys = EmbeddedAdapter.open({ layer: 1, disk, crypto, clock, usageWindowMs: 0 });
    this.#keys = keys;
    this.#ledger = new DatabaseSync(':memory:');
    const ledger = ExpiryLedger.open({ database: this.#ledger, clock, aheadMs: 0 });
    this.#signer = new TokenSigner({ keys, slot: sessionSlot, token: sessionToken, clock, ledger });
  }

  /** From the state of layer 1's service as it is now, which goes on meanwhile. */
  static async steal(stateDirectory: string): Promise<StolenKey> {
    const folder = await mkdtemp(join(tmpdir(), 'gyre-stolen-'));
    await chmod(folder, 0o700);
    await copyFile(join(stateDirectory, 'keystore.key'), join(folder, 'keystore.key'));
    const store = new DatabaseSync(join(stateDirectory, 'keystore.db'), { timeout: 5_000 });
    try {
      store.prepare('VACUUM INTO ?').run(join(folder, 'keystore.db'));
    } finally {
      store.close();
    }
    await chmod(join(folder, 'keystore.key'), 0o600);
    return new StolenKey(folder);
  }

  get keyId(): string {
    return this.#signer.primary().keyId;
  }

  /** A session of a subject, as the service would have given it now. */
  async session(subject: string): Promise<string> {
    const iat = Math.floor(systemClock.nowMs() / 1_000);
    const claims = {
      iss: sessionToken.issuer,
      sub: subject,
      aud: sessionToken.audience,
      iat,
      nbf: iat,
      exp: iat + lastsSeconds,
      jti: randomBytes(16).toString('base64url'),
      amr: ['pop', 'otp', 'mfa'],
    };
    const [token = ''] = await this.#signer.sign([claims], claims.exp * 1_000);
    return token;
  }

  async close(): Promise<void> {
    this.#keys.close();
    this.#ledger.close();
    await rm(this.#folder, { recursive: true });
  }
}
