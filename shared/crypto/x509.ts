/**
 * X.509 certificates (RFC 5280) with ML-DSA-87 keys (RFC 9881: no context string), and the requests for
 * them (PKCS#10, RFC 2986). `@peculiar/x509` writes and reads the ASN.1; what is signed is signed and
 * verified by our own provider or by whoever holds the key, over the exact bytes.
 *
 * What comes from outside is read within bounds and yields data or a code, never an exception.
 */

import 'reflect-metadata';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequest,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
  type Extension,
} from '@peculiar/x509';
import { concat, equalConstantTime, fromHex, toHex } from './bytes.ts';
import { sizes, type CryptoProvider } from './provider.ts';

/** Longest certificate or request that is read: an ML-DSA-87 key and signature take 7.3 KB. */
export const certificateBytesMax = 16 * 1024;
export const certificateNamesMax = 16;

const algorithm = { name: 'ML-DSA-87' };
/** X.509 signs without a context string (RFC 9881 section 3). */
const noContext = new Uint8Array(0);
const serverAuth = '1.3.6.1.5.5.7.3.1';
const alternativeNames = '2.5.29.17';
/** PrivateKeyInfo { 0, { id-ml-dsa-87 }, OCTET STRING { [0] seed } } up to the 32 bytes of the seed. */
const pkcs8SeedPrefix = bytesOf('3034020100300b060960864801650304031304228020');
/** SubjectPublicKeyInfo { { id-ml-dsa-87 }, BIT STRING } up to the 2,592 bytes of the key. */
const spkiPrefix = bytesOf('30820a32300b060960864801650304031303820a2100');

/** Makes the signature over the bytes it is given: 4,627 bytes, ML-DSA-87 with an empty context. */
export type CertificateSigner = (signed: Uint8Array) => Promise<Uint8Array>;

/** What a request asks for, and that its sender holds the key. */
export type RequestOpening =
  | {
      readonly status: 'ok';
      /** 2,592 bytes. */
      readonly publicKey: Uint8Array;
      readonly names: readonly string[];
    }
  | {
      readonly status: 'refused';
      readonly code: 'REQUEST_MALFORMED' | 'ALGORITHM_UNSUPPORTED' | 'PROOF_INVALID';
    };

export interface CertificateContent {
  /** Hexadecimal. */
  readonly serial: string;
  readonly subject: string;
  readonly issuer: string;
  readonly publicKey: Uint8Array;
  readonly names: readonly string[];
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly isAuthority: boolean;
  readonly signedBytes: Uint8Array;
  readonly signature: Uint8Array;
}

export interface CertificateOrder {
  /** 16 random bytes, hexadecimal. */
  readonly serial: string;
  readonly subject: string;
  readonly issuer: string;
  readonly publicKey: Uint8Array;
  readonly issuerKey: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Of a server; those of an authority have none. */
  readonly names?: readonly string[];
}

/** A PKCS#10 request for server names by the holder of the seed, in DER. */
export async function makeCertificateRequest(
  crypto: CryptoProvider,
  { seed, names }: { readonly seed: Uint8Array; readonly names: readonly string[] },
): Promise<Uint8Array> {
  const { subtle } = globalThis.crypto;
  const handle = crypto.importSigningSeed(seed);
  const spki = concat(spkiPrefix, handle.publicKey.raw);
  handle.wipe();
  const pkcs8 = concat(pkcs8SeedPrefix, seed);
  try {
    const keys = {
      publicKey: await subtle.importKey('spki', owned(spki), algorithm, true, ['verify']),
      privateKey: await subtle.importKey('pkcs8', owned(pkcs8), algorithm, false, ['sign']),
    };
    const request = await Pkcs10CertificateRequestGenerator.create({
      keys,
      signingAlgorithm: algorithm,
      extensions: [new SubjectAlternativeNameExtension(generalNames(names))],
    });
    return new Uint8Array(request.rawData);
  } finally {
    pkcs8.fill(0);
  }
}

/** Never throws for what is in it. */
export function openCertificateRequest(crypto: CryptoProvider, der: Uint8Array): RequestOpening {
  const refused = (code: Extract<RequestOpening, { status: 'refused' }>['code']) =>
    ({ status: 'refused', code }) as const;
  const request = readWith(der, (bytes) => {
    const parsed = new Pkcs10CertificateRequest(bytes);
    return {
      algorithm: nameIn(parsed.signatureAlgorithm),
      spki: new Uint8Array(parsed.publicKey.rawData),
      signature: new Uint8Array(parsed.signature),
      names: namesOf(parsed.getExtension(alternativeNames)),
    };
  });
  if (request?.names === undefined) return refused('REQUEST_MALFORMED');
  const publicKey = rawKeyOf(request.spki);
  const signed = firstElement(der);
  if (request.algorithm !== algorithm.name || publicKey === undefined) {
    return refused('ALGORITHM_UNSUPPORTED');
  }
  if (signed === undefined) return refused('REQUEST_MALFORMED');
  const { signature, names } = request;
  return verifies(crypto, publicKey, { message: signed, signature })
    ? { status: 'ok', publicKey, names }
    : refused('PROOF_INVALID');
}

/** A certificate in DER, signed by whoever `sign` asks. */
export async function makeCertificate(
  crypto: CryptoProvider,
  order: CertificateOrder,
  sign: CertificateSigner,
): Promise<Uint8Array> {
  // Everything but the signature is settled by the order: made once to be signed, and once signed.
  const unsigned = await generated(crypto, order, new Uint8Array(sizes.mlDsa87.signature));
  const signed = firstElement(unsigned);
  if (signed === undefined) throw new Error('assertion: a certificate has a signed part');
  return generated(crypto, order, await sign(signed));
}

/** Undefined for what is not a certificate of an ML-DSA-87 key, signed with ML-DSA-87. */
export function readCertificate(der: Uint8Array): CertificateContent | undefined {
  const read = readWith(der, (bytes) => {
    const parsed = new X509Certificate(bytes);
    const constraints = parsed.getExtension(BasicConstraintsExtension);
    return {
      algorithm: nameIn(parsed.signatureAlgorithm),
      spki: new Uint8Array(parsed.publicKey.rawData),
      serial: parsed.serialNumber,
      subject: parsed.subject,
      issuer: parsed.issuer,
      names: namesOf(parsed.getExtension(alternativeNames)) ?? [],
      notBeforeMs: parsed.notBefore.getTime(),
      notAfterMs: parsed.notAfter.getTime(),
      isAuthority: constraints?.ca === true,
      signature: new Uint8Array(parsed.signature),
    };
  });
  if (read === undefined || read.algorithm !== algorithm.name) return undefined;
  const { spki, algorithm: _, ...content } = read;
  const publicKey = rawKeyOf(spki);
  const signedBytes = firstElement(der);
  if (publicKey === undefined || signedBytes === undefined) return undefined;
  return { ...content, publicKey, signedBytes };
}

/** Why a chain (the server's certificate first) does not lead to one of the roots, or undefined. */
export function chainFault(
  crypto: CryptoProvider,
  input: {
    readonly chain: readonly Uint8Array[];
    readonly roots: readonly Uint8Array[];
    readonly publicKey: Uint8Array;
    readonly names: readonly string[];
    readonly nowMs: number;
  },
): string | undefined {
  const chain = input.chain.map(readCertificate);
  const roots = input.roots.map(readCertificate);
  const [leaf] = chain;
  if (leaf === undefined) return 'there is no certificate';
  const shortfall = leafFault(leaf, input);
  if (shortfall !== undefined) return shortfall;
  for (const [index, certificate] of chain.entries()) {
    if (certificate === undefined) return 'a certificate of the chain cannot be read';
    if (input.nowMs > certificate.notAfterMs) return 'a certificate of the chain has run out';
    const next = chain[index + 1];
    const issuers = next === undefined ? roots : [next];
    const isSigned = issuers.some((issuer) => isIssuedBy(crypto, certificate, issuer));
    if (!isSigned) return 'the chain does not lead to a root';
  }
  return undefined;
}

/** The certificate in the text form of RFC 7468. */
export function certificatePem(der: Uint8Array): string {
  return new X509Certificate(owned(der)).toString('pem');
}

/** The same name in the same spelling: lower case, addresses as X.509 writes them. */
export function spelled(name: string): string {
  const [only] = new SubjectAlternativeNameExtension(generalNames([name])).names.items;
  return (only?.value ?? name).toLowerCase();
}

/** PKCS#8 of a seed in the text form of RFC 7468, to be wiped by the caller. */
export function privateKeyPem(seed: Uint8Array): Uint8Array {
  const der = Buffer.concat([pkcs8SeedPrefix, seed]);
  // 54 bytes are 72 characters: one line and a bit.
  const body = Buffer.from(der.toString('base64'));
  der.fill(0);
  const pem = Buffer.concat([
    Buffer.from('-----BEGIN PRIVATE KEY-----\n'),
    body.subarray(0, 64),
    Buffer.from('\n'),
    body.subarray(64),
    Buffer.from('\n-----END PRIVATE KEY-----\n'),
  ]);
  body.fill(0);
  return pem;
}

async function generated(
  crypto: CryptoProvider,
  order: CertificateOrder,
  signature: Uint8Array,
): Promise<Uint8Array> {
  const { serial, subject, issuer, publicKey, notBeforeMs, notAfterMs } = order;
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serial,
    subject,
    issuer,
    notBefore: new Date(notBeforeMs),
    notAfter: new Date(notAfterMs),
    publicKey: owned(concat(spkiPrefix, publicKey)),
    signingAlgorithm: algorithm,
    signature: owned(signature),
    extensions: extensionsOf(crypto, order),
  });
  return new Uint8Array(certificate.rawData);
}

function extensionsOf(
  crypto: CryptoProvider,
  { names, publicKey, issuerKey }: CertificateOrder,
): Extension[] {
  const identifiers = [
    new SubjectKeyIdentifierExtension(keyIdentifier(crypto, publicKey)),
    new AuthorityKeyIdentifierExtension(keyIdentifier(crypto, issuerKey)),
  ];
  if (names === undefined) {
    const usages = KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign;
    return [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(usages, true),
      ...identifiers,
    ];
  }
  return [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    new ExtendedKeyUsageExtension([serverAuth]),
    new SubjectAlternativeNameExtension(generalNames(names)),
    ...identifiers,
  ];
}

function leafFault(
  leaf: CertificateContent,
  { publicKey, names, nowMs }: { publicKey: Uint8Array; names: readonly string[]; nowMs: number },
): string | undefined {
  if (!equalConstantTime(leaf.publicKey, publicKey)) return 'the certificate is of another key';
  if (leaf.isAuthority) return 'the certificate is of an authority';
  if (nowMs < leaf.notBeforeMs) return 'the certificate is not valid yet';
  const held = new Set(leaf.names.map(spelled));
  return names.every((name) => held.has(spelled(name)))
    ? undefined
    : 'the certificate lacks a name';
}

function isIssuedBy(
  crypto: CryptoProvider,
  { issuer: name, signedBytes, signature }: CertificateContent,
  issuer: CertificateContent | undefined,
): boolean {
  if (issuer === undefined || !issuer.isAuthority || issuer.subject !== name) return false;
  return verifies(crypto, issuer.publicKey, { message: signedBytes, signature });
}

function verifies(
  crypto: CryptoProvider,
  publicKey: Uint8Array,
  input: { readonly message: Uint8Array; readonly signature: Uint8Array },
): boolean {
  return crypto.verify(crypto.importVerifyKey(publicKey), { ...input, context: noContext });
}

/** The first 20 bytes of the key's id, hexadecimal (RFC 5280 section 4.2.1.2 leaves the method free). */
function keyIdentifier(crypto: CryptoProvider, publicKey: Uint8Array): string {
  return toHex(crypto.sha3_256(publicKey).subarray(0, 20));
}

function generalNames(names: readonly string[]) {
  return names.map(
    (value) => ({ type: isAddress(value) ? ('ip' as const) : 'dns', value }) as const,
  );
}

/** A name of the domain system has a letter in its last label (RFC 3696 section 2), and no colon. */
function isAddress(name: string): boolean {
  return name.includes(':') || /(?:^|\.)[0-9]+$/.test(name);
}

/** Undefined where there are none, too many, or others than names and addresses of servers. */
function namesOf(extension: Extension | null): string[] | undefined {
  if (!(extension instanceof SubjectAlternativeNameExtension)) return undefined;
  const { items } = extension.names;
  const areNames = items.every(({ type }) => type === 'dns' || type === 'ip');
  if (!areNames || items.length === 0 || items.length > certificateNamesMax) return undefined;
  return items.map(({ value }) => value.toLowerCase());
}

function rawKeyOf(spki: Uint8Array): Uint8Array | undefined {
  const isKey =
    spki.length === spkiPrefix.length + sizes.mlDsa87.publicKey &&
    equalConstantTime(spki.subarray(0, spkiPrefix.length), spkiPrefix);
  return isKey ? spki.slice(spkiPrefix.length) : undefined;
}

/** The library throws whatever it throws at bytes that are not what it expects. */
function readWith<Result>(
  der: Uint8Array,
  read: (bytes: Uint8Array<ArrayBuffer>) => Result,
): Result | undefined {
  if (der.length > certificateBytesMax) return undefined;
  try {
    return read(owned(der));
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

/** The first element inside of the outer sequence, as it stands (X.690 section 8.1): what was signed. */
function firstElement(der: Uint8Array): Uint8Array | undefined {
  const outer = header(der, 0);
  const inner = outer === undefined ? undefined : header(der, outer.contentAt);
  if (outer === undefined || inner === undefined) return undefined;
  return inner.endAt <= outer.endAt && outer.endAt === der.length
    ? der.slice(outer.contentAt, inner.endAt)
    : undefined;
}

function header(der: Uint8Array, at: number): { contentAt: number; endAt: number } | undefined {
  const [tag, first] = [der[at], der[at + 1]];
  if (tag !== 0x30 || first === undefined) return undefined;
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  if (lengthBytes > 3 || (first >= 0x80 && lengthBytes === 0)) return undefined;
  const contentAt = at + 2 + lengthBytes;
  const length = der
    .subarray(at + 2, contentAt)
    .reduce((sum, byte) => sum * 256 + byte, first < 0x80 ? first : 0);
  return { contentAt, endAt: contentAt + length };
}

/** The library's type of an algorithm is that of browsers, which are not part of this project's types. */
function nameIn(described: object): unknown {
  return 'name' in described ? described.name : undefined;
}

/** A copy in memory of its own, as WebCrypto and the library want it. */
function owned(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(bytes);
}

function bytesOf(hex: string): Uint8Array {
  const bytes = fromHex(hex);
  if (bytes === undefined) throw new Error('assertion: a constant is hexadecimal');
  return bytes;
}
