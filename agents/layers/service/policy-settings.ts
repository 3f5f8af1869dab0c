/** What a policy asks of the layers' services. */

import type { PolicyBody } from '#schemas/policy.ts';
import type { ServiceSettings } from '#schemas/service.ts';

/** The registered TLS groups that are post-quantum or hybrid; what else there is no policy can name. */
const tlsGroups = ['SecP384r1MLKEM1024', 'X25519MLKEM768', 'MLKEM1024'];

/** Of one-time passwords (RFC 6238), each with the hash inside it. */
const codeMacs = [{ mac: 'HMAC-SHA-512', hash: 'SHA-512' }];

const identityLayer = 1;
const networkLayer = 3;

export function settingsOf(policy: PolicyBody, policyDigest: string): ServiceSettings {
  const { layer_specific: layers, exceptions, rotation } = policy.policies;
  const named = exceptions.filter(
    (exception) =>
      exception.layers.includes(networkLayer) && tlsGroups.includes(exception.algorithm),
  );
  return {
    policyVersion: policy.version,
    policyDigest,
    mfaRequired: layers.layer_1.mfa_required,
    tlsVersionMin: layers.layer_3.min_tls_version,
    hybridKeyExchangeRequired: layers.layer_3.hybrid_key_exchange_required,
    tlsGroupExceptions: named.map(({ algorithm }) => algorithm),
    secondFactorMacs: secondFactorMacs(policy),
    aesKeyBitsMin: layers.layer_4.min_aes_key_size,
    overlapMs: rotation.overlap_ms,
  };
}

/** Allowed by name, in the list or as an exception, and not prohibited, nor its hash. */
function secondFactorMacs({ policies }: PolicyBody): string[] {
  const { allowed_algorithms: allowed, exceptions, prohibited_algorithms: prohibited } = policies;
  return codeMacs.flatMap(({ mac, hash }) => {
    const isExcepted = exceptions.some(
      ({ algorithm, layers }) => algorithm === mac && layers.includes(identityLayer),
    );
    const isProhibited = prohibited.includes(mac) || prohibited.includes(hash);
    return (isExcepted || allowed.mac.includes(mac)) && !isProhibited ? [mac] : [];
  });
}
