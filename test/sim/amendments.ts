/** What the operators of a simulated world sign after its beginning: next policies, registries, revocations. */

import type { PolicyBody } from '#schemas/policy.ts';
import type { RegistryBody } from '#schemas/registry.ts';
import { utf8 } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { localSigner, signDocument } from '#shared/crypto/signed-document.ts';
import type { Genesis } from './genesis.ts';
import type { Draws, WorldTime } from './model.ts';

export interface SigningRoom {
  readonly genesis: Genesis;
  readonly crypto: CryptoProvider;
  readonly time: Pick<WorldTime, 'nowMs'>;
}

const validMs = 20 * 24 * 3_600_000;

/** The latest policy and registry that were signed, and the next ones. */
export class Amendments {
  readonly #room: SigningRoom;
  #policy: PolicyBody;
  #registry: RegistryBody;
  /** All that were signed: older ones are offered again by somebody who wants them back. */
  readonly #signedBefore: Uint8Array<ArrayBuffer>[] = [];

  constructor(room: SigningRoom) {
    this.#room = room;
    const { policy, registry } = room.genesis.bundle;
    this.#policy = policy.body;
    this.#registry = registry.body;
  }

  /** The next policy: other patience, and whether it is for rotations that run already. */
  async policy(draws: Draws): Promise<Uint8Array<ArrayBuffer>> {
    const body = this.#next(this.#policy);
    body.applies = draws.pick(['to-new-sagas', 'at-once'] as const);
    body.policies.rotation.step_timeout_ms = draws.pick([2_500, 3_000, 4_000]);
    body.policies.rotation.overlap_ms = draws.pick([5_000, 10_000, 15_000]);
    this.#policy = body;
    return await this.#signed(body);
  }

  async registry(): Promise<Uint8Array<ArrayBuffer>> {
    this.#registry = this.#next(this.#registry);
    return await this.#signed(this.#registry);
  }

  /** What nobody may adopt: an older one, one that has expired, one that was changed after its signatures. */
  async bad(draws: Draws): Promise<Uint8Array<ArrayBuffer>> {
    const latest = draws.pick([this.#policy, this.#registry]);
    const kind = draws.pick(['older', 'taken', 'expired', 'changed'] as const);
    const older = this.#signedBefore.slice(0, -2);
    if (kind === 'older' && older.length > 0) return draws.pick(older);
    const body = this.#next(latest);
    if (kind === 'expired') {
      body.issued_at = latest.issued_at;
      body.expires_at = new Date(Date.parse(latest.issued_at) + 1).toISOString();
    } else if (kind !== 'changed') {
      body.version = latest.version;
    }
    const document = await signed(this.#room, body);
    if (kind !== 'changed') return document;
    const text = new TextDecoder().decode(document);
    const changed = text.replace(`"version":${body.version}`, `"version":${body.version + 1}`);
    return new Uint8Array(utf8(changed));
  }

  async revocation(agentId: string): Promise<Uint8Array<ArrayBuffer>> {
    const { genesis, time } = this.#room;
    const agent = genesis.trust.agent(agentId);
    if (agent === undefined) throw new Error(`${agentId} is not enrolled`);
    return await signed(this.#room, {
      kind: 'revocation' as const,
      mesh: genesis.mesh,
      agent_id: agentId,
      key_id: agent.keyId,
      reason: 'a simulated theft',
      issued_at: new Date(time.nowMs()).toISOString(),
    });
  }

  #next<Body extends PolicyBody | RegistryBody>(before: Body): Body {
    const nowMs = this.#room.time.nowMs();
    const body = structuredClone(before);
    body.version += 1;
    body.issued_at = new Date(nowMs).toISOString();
    body.expires_at = new Date(nowMs + validMs).toISOString();
    return body;
  }

  async #signed(body: PolicyBody | RegistryBody): Promise<Uint8Array<ArrayBuffer>> {
    const document = await signed(this.#room, body);
    this.#signedBefore.push(document);
    return document;
  }
}

/** By both operators. */
async function signed<Body extends { readonly kind: string }>(
  { genesis, crypto }: SigningRoom,
  body: Body,
): Promise<Uint8Array<ArrayBuffer>> {
  const signers = ['op-1', 'op-2'].map((id) => {
    const key = genesis.keys.get(id);
    if (key === undefined) throw new Error(`no key for ${id}`);
    return localSigner(crypto, key);
  });
  return new Uint8Array(utf8(JSON.stringify(await signDocument(body, signers))));
}
