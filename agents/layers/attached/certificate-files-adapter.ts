/**
 * For a TLS server that reads key and certificate from files and reloads them when it is told: nginx, a
 * server of Node's. The agent makes the keys and keeps them in its store, has them certified by the mesh's
 * authority, and brings them to the server (served-certificates.ts). Keys of layer 3's other slots are
 * kept and turned in the agent's store alone: such a server has no use for them.
 */

import { certifiedSlot } from '#shared/core/certificate-evidence.ts';
import { lengthPrefixed, toHex, utf8 } from '#shared/crypto/bytes.ts';
import type { Log } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
import { EmbeddedAdapter, type EmbeddedOptions } from '../embedded/embedded-adapter.ts';
import type { CertifiedSystem, IssuedCertificate } from '../service/certificate-authority.ts';
import { CertificateShelf } from '../service/certificate-shelf.ts';
import { HookedAdapter } from '../service/hooked-adapter.ts';
import { CertificateFolder } from './certificate-folder.ts';
import type { ProgramSpec } from './program.ts';
import { ServedCertificates } from './served-certificates.ts';

export interface CertificateFilesOptions extends EmbeddedOptions {
  /** Where the server reads: made with mode 0700 if it is not there. */
  readonly directory: string;
  /** That certificates have to have; the first is asked for when the server is looked at. */
  readonly names: readonly string[];
  /** Where the server listens. */
  readonly address: { readonly host: string; readonly port: number };
  readonly reload: ProgramSpec;
  readonly log: Log;
  readonly shownWithinMs?: number;
}

export interface CertificateFiles {
  readonly keys: EmbeddedAdapter;
  readonly adapter: CertifiedSystem;
  /** Metric to value. */
  readonly measure: () => Readonly<Record<string, number>>;
}

/** @throws AdapterError */
export function openCertificateFiles(options: CertificateFilesOptions): CertificateFiles {
  const { directory, names, address, disk, crypto, clock } = options;
  const folder = new CertificateFolder(directory);
  const keys = EmbeddedAdapter.open(options);
  const shelf = CertificateShelf.open({
    disk,
    crypto,
    clock,
    names,
    keys: keys.store,
    slot: certifiedSlot,
  });
  const [name = address.host] = names;
  const served = new ServedCertificates({
    ...options,
    slot: certifiedSlot,
    keys: keys.store,
    shelf,
    folder,
    address: { ...address, name },
  });
  const parts = ['certificate-files-1', keys.fingerprint(), directory, ...names].map(utf8);
  const fingerprint = toHex(crypto.sha3_256(lengthPrefixed(...parts)));
  return {
    keys,
    adapter: new CertificateFilesAdapter({ keys, shelf, served, fingerprint }),
    measure: () => {
      const version = keys.store.primary(certifiedSlot)?.version ?? 0;
      const overdue = Math.floor(shelf.overdueMs(version) / 1_000);
      return { 'certificate-overdue-s': overdue, 'certificate-shown': Number(served.isCurrent) };
    },
  };
}

interface Parts {
  readonly keys: EmbeddedAdapter;
  readonly shelf: CertificateShelf;
  readonly served: ServedCertificates;
  readonly fingerprint: string;
}

class CertificateFilesAdapter extends HookedAdapter implements CertifiedSystem {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    const { keys, shelf, served } = parts;
    super('certificate-files', keys, {
      [certifiedSlot]: {
        activating: async (version) => {
          if (!shelf.isReady(version)) throw uncertified(version);
          // On the disk before the key comes into use: a full one shows now.
          served.write(version);
        },
        activated: () => served.show(),
        verify: (version) => served.verify(version),
        rolledBack: () => served.show(),
        users: (version) => served.users(version),
        retiring: (version) => served.drop(version),
      },
    });
    this.#parts = parts;
  }

  override fingerprint(): string {
    return this.#parts.fingerprint;
  }

  async certificateRequest(slot: string, version: number): Promise<Uint8Array | undefined> {
    requireCertified(slot);
    const { shelf } = this.#parts;
    return shelf.isWanted(version) ? await shelf.request(version) : undefined;
  }

  async installCertificate(
    slot: string,
    version: number,
    issued: IssuedCertificate,
  ): Promise<void> {
    requireCertified(slot);
    const { shelf, served, keys } = this.#parts;
    shelf.install(version, issued, 'authority');
    if (keys.store.primary(slot)?.version === version) await served.show();
  }

  async settle(): Promise<void> {
    const { served } = this.#parts;
    if (!served.isCurrent) await served.show();
  }
}

function requireCertified(slot: string): void {
  if (slot === certifiedSlot) return;
  throw new AdapterError('STATE_CONFLICT', `the keys of ${slot} have no certificates`);
}

function uncertified(version: number): AdapterError {
  return new AdapterError('STATE_CONFLICT', `version ${version} has no certificate yet`);
}
