/** Why a connection came to nothing before its first request, or in the midst of one, by the codes of Node. */

export const handshakeCodes = [
  'TLS_VERSION_REFUSED',
  'PLAINTEXT_REFUSED',
  'GROUP_REFUSED',
  'SIGNATURE_ALGORITHM_REFUSED',
  'HANDSHAKE_FAILED',
] as const;
export type HandshakeCode = (typeof handshakeCodes)[number];

const known: Readonly<Record<string, HandshakeCode>> = {
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'TLS_VERSION_REFUSED',
  ERR_SSL_HTTP_REQUEST: 'PLAINTEXT_REFUSED',
  ERR_SSL_HTTPS_PROXY_REQUEST: 'PLAINTEXT_REFUSED',
  // The first bytes are no TLS record at all.
  ERR_SSL_WRONG_VERSION_NUMBER: 'PLAINTEXT_REFUSED',
  ERR_SSL_NO_SUITABLE_KEY_SHARE: 'GROUP_REFUSED',
  ERR_SSL_NO_SUITABLE_GROUPS: 'GROUP_REFUSED',
  ERR_SSL_NO_SHARED_GROUP: 'GROUP_REFUSED',
  ERR_SSL_NO_SHARED_SIGNATURE_ALGORITHMS: 'SIGNATURE_ALGORITHM_REFUSED',
  ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM: 'SIGNATURE_ALGORITHM_REFUSED',
};

/** HANDSHAKE_FAILED for the rest: the client broke off, refused our certificate, or was too slow. */
export function handshakeCode(error: Error): HandshakeCode {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return known[code] ?? 'HANDSHAKE_FAILED';
}

/** What is no HTTP inside of TLS, or comes too slowly; undefined where the connection just broke. */
export function requestFault(error: Error): { code: string; status: string } | undefined {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return { code: 'REQUEST_TIMEOUT', status: '408 Request Timeout' };
  }
  return code.startsWith('HPE_')
    ? { code: 'REQUEST_MALFORMED', status: '400 Bad Request' }
    : undefined;
}
