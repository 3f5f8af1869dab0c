/**
 * Who certifies the keys of a service: the signer of the mesh, an authority of the service's own before
 * there is one, or somebody's public key infrastructure behind the same interface. The service makes
 * key and request and installs what comes back; whoever reaches the authority stands between them.
 */

import type { LayerAdapter } from '../adapter.ts';

export interface CertificateOrder {
  /** PKCS#10 in DER, signed by the key that shall be certified. */
  readonly request: Uint8Array;
  /** From now on. An authority may give less. */
  readonly validMs: number;
}

export interface IssuedCertificate {
  /** DER, the server's certificate first, without the root. */
  readonly chain: readonly Uint8Array[];
  /** What clients have to know of the authority, in DER. */
  readonly roots: readonly Uint8Array[];
}

export interface CertificateAuthority {
  /** @throws AdapterError SYSTEM_UNREACHABLE (worth another try), STATE_CONFLICT for a refusal */
  issue(order: CertificateOrder): Promise<IssuedCertificate>;
}

/** A service whose keys are certified, as its agent sees it. */
export interface CertifiedKeys {
  /** What shall be certified; undefined where the key's certificate is good for a while. */
  request(slot: string, version: number): Promise<Uint8Array | undefined>;
  /** Checked, kept, and in use where the key is. @throws AdapterError STATE_CONFLICT */
  install(slot: string, version: number, issued: IssuedCertificate): Promise<void>;
}

/** A system whose keys are certified, as what an agent turns. */
export interface CertifiedSystem extends LayerAdapter {
  /** What shall be certified, or undefined where nothing needs to be. @throws AdapterError */
  certificateRequest(slot: string, version: number): Promise<Uint8Array | undefined>;
  /** @throws AdapterError STATE_CONFLICT for what does not hold */
  installCertificate(slot: string, version: number, issued: IssuedCertificate): Promise<void>;
  /** Brings what is served up to what is kept, where an earlier try failed. @throws AdapterError */
  settle?(): Promise<void>;
}
