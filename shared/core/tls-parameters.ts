/**
 * What a TLS server takes, by the settings that the policy in force asks for: TLS 1.3, one hybrid group,
 * others only by a named exception. Pure: names in, names out.
 */

import type { ServiceSettings } from '#schemas/service.ts';

export const tlsGroup = 'SecP384r1MLKEM1024';
/** Of OpenSSL, for FIPS 204's ML-DSA-87. */
export const tlsSignatureAlgorithm = 'mldsa87';

/** Groups without a classical part. */
const notHybrid: ReadonlySet<string> = new Set(['MLKEM1024']);
/** Best first; both have keys of 256 bits. */
const ciphers = ['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'];

/** As node:tls takes them. */
export interface TlsParameters {
  readonly minVersion: 'TLSv1.3';
  readonly maxVersion: 'TLSv1.3';
  readonly ecdhCurve: string;
  readonly sigalgs: string;
  readonly ciphers: string;
}

/** TLS 1.3 whatever the settings say: ML-DSA certificates are not defined for anything before it. */
export function tlsParameters(
  settings: Pick<ServiceSettings, 'tlsGroupExceptions' | 'hybridKeyExchangeRequired'>,
): TlsParameters {
  const excepted = settings.tlsGroupExceptions.filter(
    (group) => group !== tlsGroup && !(settings.hybridKeyExchangeRequired && notHybrid.has(group)),
  );
  return {
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    ecdhCurve: [tlsGroup, ...excepted].join(':'),
    sigalgs: tlsSignatureAlgorithm,
    ciphers: ciphers.join(':'),
  };
}
