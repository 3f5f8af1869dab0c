/**
 * How often the signer states epochs of a channel for one orchestrator: many in a row where something
 * goes wrong, then as many as the policy has use for. So a stolen orchestrator cannot rekey a channel
 * without end, and what it uses up is its own. What an operator asked for is not counted, a few times.
 */

import type { ChannelRules } from '#schemas/policy.ts';

/** Announcements in a row, before the rate counts. */
export const announcementsAtOnceMax = 32;
/** Announcements that one request of an operator is good for, for one channel and orchestrator. */
export const announcementsPerWishMax = 8;
/** At the least one in five minutes: abandoned ones have to be made once more. */
const intervalMsMax = 300_000;
/** Messages in a second that a channel may carry at the most, for the bound by count. */
const messagesPerSecond = 1_000;

/** The time in which another announcement is earned: a quarter of what the policy has epochs last. */
export function allowanceIntervalMs(rules: ChannelRules): number {
  const byCountMs = Math.ceil((rules.epoch_messages_max * 1_000) / messagesPerSecond);
  const shortestMs = Math.min(rules.epoch_max_ms, byCountMs);
  return Math.max(1, Math.min(intervalMsMax, Math.floor(shortestMs / 4)));
}

/**
 * Until when the announcements so far are paid for, once another one is made at `nowMs`; undefined where
 * it is one too many. `paidUntilMs`: what the last call came to, 0 before the first.
 */
export function announcementAllowed(
  paidUntilMs: number,
  nowMs: number,
  rules: ChannelRules,
): number | undefined {
  const intervalMs = allowanceIntervalMs(rules);
  const spanMs = announcementsAtOnceMax * intervalMs;
  // Where the clock was put back, or the policy amended, nobody waits for longer than for all of it.
  const next = Math.min(Math.max(paidUntilMs, nowMs), nowMs + spanMs) + intervalMs;
  return next > nowMs + spanMs ? undefined : next;
}
