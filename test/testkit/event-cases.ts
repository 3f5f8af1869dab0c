/** Cases of events and of their disclosures. */
import type { Disclosure, Header } from '#schemas/frame.ts';
import { concat } from '#shared/crypto/bytes.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { seal } from '#shared/crypto/envelope.ts';
import { caseOf, type Case, type Outcome } from './case.ts';
import { forge, type Forgery } from './forge.ts';
import {
  batchHeader,
  channelSecret,
  crypto,
  eventBody,
  eventHeader,
  labelled,
  otherKey,
  signingKey,
  withSalt,
} from './material.ts';

const event = (name: string, open: Outcome, about: string, forgery: Partial<Forgery> = {}): Case =>
  caseOf(
    { name: `event-${name}`, kind: 'event', about, open },
    encodeCanonical(forge({ ...eventForgery, ...forgery })),
  );

export const eventForgery: Forgery = {
  header: eventHeader,
  content: encodeCanonical(eventBody, { floats: true }),
  label: 'event',
};

const withHeader = (changes: object): Partial<Forgery> => ({
  header: { ...eventHeader, ...changes } as Header,
});

export function eventCases(): Case[] {
  const valid = seal(crypto, { header: eventHeader, body: eventBody, signingKey, channelSecret });
  const sealed = withSalt(() =>
    seal(crypto, { header: eventHeader, body: eventBody, signingKey, channelSecret }),
  );
  const parts = forge(eventForgery);
  const malformed = (
    name: string,
    about: string,
    bytes: Uint8Array,
    encode: Case['encode'] = 'same',
  ): Case =>
    caseOf({ name: `event-${name}`, kind: 'event', about, open: 'FRAME_MALFORMED', encode }, bytes);
  const { seal: _seal, ...unsealed } = parts;
  const longHeader = inLongForm(encodeCanonical(eventHeader));
  return [
    caseOf(
      { name: 'event-valid', kind: 'event', about: 'an approval, as it should be', open: 'ok' },
      sealed.frame,
    ),
    caseOf(
      { name: 'event-salt-zero', kind: 'event', about: 'a salt of zeros is a salt', open: 'ok' },
      valid.frame,
    ),
    event('all-types', 'ok', 'a body with every type that MessagePack has here', {
      content: encodeCanonical(
        { a: null, b: [true, false], c: -1, d: 2 ** 40, e: 1.25, f: new Uint8Array(3), g: 'é' },
        { floats: true },
      ),
    }),
    malformed('cut', 'cut short', sealed.frame.subarray(0, -1), 'refused'),
    malformed('longer', 'a byte behind it', concat(sealed.frame, new Uint8Array(1)), 'refused'),
    malformed('empty', 'no bytes', new Uint8Array(), 'refused'),
    malformed('extension', 'an extension type', Uint8Array.of(0xd4, 1, 1), 'refused'),
    malformed('long-length', 'a length in its long form', inLongBin(sealed.frame), 'refused'),
    malformed('unknown-part', 'a sixth part', encodeCanonical({ ...parts, extra: 1 })),
    malformed('no-seal', 'no seal', encodeCanonical(unsealed)),
    malformed(
      'short-seal',
      'a seal too short',
      encodeCanonical({ ...parts, seal: parts.seal.subarray(1) }),
    ),
    malformed(
      'short-digest',
      'a digest of 31 bytes',
      encodeCanonical({ ...parts, digest: parts.digest.subarray(1) }),
    ),
    malformed('not-a-map', 'a list', encodeCanonical([1, 2, 3])),
    event('header-long-form', 'FRAME_MALFORMED', 'a header that is not canonical, though signed', {
      headerBytes: longHeader,
    }),
    event(
      'header-unknown-field',
      'FRAME_MALFORMED',
      'a field more in the header',
      withHeader({ more: 1 }),
    ),
    event('header-counter-zero', 'FRAME_MALFORMED', 'a counter of 0', {
      headerBytes: encodeCanonical({ ...eventHeader, counter: 0 }),
    }),
    event(
      'header-wildcard',
      'FRAME_MALFORMED',
      'a subject with a wildcard',
      withHeader({ subject: 'gyre.>' }),
    ),
    event(
      'header-unknown-lane',
      'FRAME_MALFORMED',
      'a lane that is none',
      withHeader({ lane: 'express' }),
    ),
    caseOf(
      {
        name: 'event-too-large',
        kind: 'event',
        about: 'more than 512 KiB',
        open: 'FRAME_TOO_LARGE',
        encode: 'refused',
      },
      new Uint8Array(512 * 1024 + 1),
    ),
    event('version-2', 'VERSION_UNKNOWN', 'another version', withHeader({ version: 2 })),
    event('suite-2', 'SUITE_UNKNOWN', 'another suite', withHeader({ suite: 2 })),
    event('batch', 'LANE_MISMATCH', 'a batch where an event is read', {
      header: batchHeader,
      label: 'batch',
    }),
    event('other-signer', 'SIGNATURE_INVALID', 'signed by another key', { isSignedByOther: true }),
    event('other-key-named', 'SIGNATURE_INVALID', 'the header names another key', {
      header: { ...eventHeader, senderKeyId: otherKey.publicKey.keyId },
    }),
    event('other-context', 'SIGNATURE_INVALID', 'signed as an event of another type', {
      context: 'plan-refused',
    }),
    event('batch-label', 'SIGNATURE_INVALID', 'signed as a batch', { label: 'batch' }),
    caseOf(
      {
        name: 'event-other-secret',
        kind: 'event',
        about: 'read with the secret of another epoch',
        open: 'COMMITMENT_MISMATCH',
        secret: labelled('secret of another epoch'),
      },
      sealed.frame,
    ),
    event('other-commitment', 'COMMITMENT_MISMATCH', 'commits to another key', {
      commitment: labelled('commitment'),
    }),
    event('other-nonce', 'TAG_INVALID', 'encrypted under the nonce of another counter', {
      counter: 8,
    }),
    event('other-digest', 'DIGEST_MISMATCH', 'the digest of something else', {
      digest: labelled('digest'),
    }),
    event('body-long-form', 'BODY_MALFORMED', 'a body that is not canonical, though signed', {
      content: Uint8Array.of(0xcc, 1),
    }),
  ];
}

function disclosed(forgery: Partial<Forgery> = {}): Disclosure {
  const made = { ...eventForgery, ...forgery };
  const { header, commitment, ciphertext, seal: signature } = forge(made);
  const ciphertextHash = crypto.sha3_512(ciphertext);
  const salt = labelled('salt');
  return { header, ciphertextHash, commitment, seal: signature, salt, body: made.content };
}

export function disclosureCases(): Case[] {
  const made = (name: string, open: Outcome, about: string, content: object): Case =>
    caseOf(
      { name: `disclosure-${name}`, kind: 'disclosure', about, open },
      encodeCanonical(content),
    );
  const valid = disclosed();
  const { salt: _salt, ...saltless } = valid;
  return [
    made('valid', 'ok', 'an approval, opened for everybody', valid),
    made('no-salt', 'FRAME_MALFORMED', 'no salt', saltless),
    made('version-2', 'VERSION_UNKNOWN', 'another version', disclosed(withHeader({ version: 2 }))),
    made('suite-2', 'SUITE_UNKNOWN', 'another suite', disclosed(withHeader({ suite: 2 }))),
    made(
      'of-a-batch',
      'LANE_MISMATCH',
      'a batch in the shape of a disclosure',
      disclosed({ header: batchHeader, label: 'batch' }),
    ),
    made('other-body', 'SIGNATURE_INVALID', 'another body', {
      ...valid,
      body: encodeCanonical({ ...eventBody, planId: 'rot-2' }),
    }),
    made('other-salt', 'SIGNATURE_INVALID', 'another salt', { ...valid, salt: labelled('other') }),
    made(
      'body-long-form',
      'BODY_MALFORMED',
      'a body that is not canonical, though signed',
      disclosed({ content: Uint8Array.of(0xcc, 1) }),
    ),
  ];
}

/** The version of a header, 1, as `0xcc 0x01`. */
function inLongForm(header: Uint8Array): Uint8Array {
  const at = Buffer.from(header).indexOf('version') + 'version'.length;
  return concat(header.subarray(0, at), Uint8Array.of(0xcc), header.subarray(at));
}

/** The commitment's length, 32, in two bytes instead of one. */
function inLongBin(frame: Uint8Array): Uint8Array {
  const at = Buffer.from(frame).indexOf('commitment') + 'commitment'.length;
  return concat(frame.subarray(0, at), Uint8Array.of(0xc5, 0), frame.subarray(at + 1));
}
