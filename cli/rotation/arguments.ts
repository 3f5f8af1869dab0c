/** What people type for a rotation, checked before anything leaves this machine. */
import { layerNames, layerNumbers, type LayerNumber } from '#schemas/layers.ts';
import { rotationTypes, type RotationType } from '#schemas/plan.ts';
import { IDENTIFIER_PATTERN } from '#schemas/primitives.ts';
import { usageFault } from '../fault.ts';
import { span } from '../style.ts';

export interface WindowMs {
  readonly startMs: number;
  readonly endMs: number;
}

const reasonCharactersMax = 500;
const planIdPattern = new RegExp(IDENTIFIER_PATTERN);

/** `1-7`, `1,3`, `1,4-6`: ascending and each layer once. */
export function parseLayers(text: string): LayerNumber[] {
  const layers = text.split(',').flatMap((part) => {
    const match = /^\s*(\d{1,3})\s*(?:-\s*(\d{1,3})\s*)?$/.exec(part);
    if (match?.[1] === undefined) throw badLayers(text);
    const first = Number(match[1]);
    const last = match[2] === undefined ? first : Number(match[2]);
    if (last < first) throw badLayers(text);
    return Array.from({ length: last - first + 1 }, (_, index) => requireLayer(first + index));
  });
  return [...new Set(layers)].toSorted((left, right) => left - right);
}

export function parseRotationType(text: string): RotationType {
  const type = rotationTypes.find((name) => name === text);
  if (type !== undefined) return type;
  throw usageFault(
    `there is no rotation type "${text.slice(0, 40)}"`,
    `Types: ${rotationTypes.join(', ')}.`,
  );
}

/** Two moments as RFC 3339 writes them, `START/END`, of which the second is still to come. */
export function parseWindow(text: string, nowMs = Date.now()): WindowMs {
  const [start = '', end = '', ...more] = text.split('/');
  const [startMs, endMs] = [instantOf(start), instantOf(end)];
  if (more.length > 0 || startMs === null || endMs === null) {
    throw usageFault(
      `"${text.slice(0, 80)}" is not a window`,
      'Write START/END, such as 2030-01-31T01:00:00Z/2030-01-31T05:00:00Z.',
    );
  }
  if (startMs >= endMs) {
    throw usageFault('the window ends before it starts', 'Write START/END, the earlier one first.');
  }
  if (endMs <= nowMs) {
    throw usageFault(
      `the window is in the past: it ended at ${new Date(endMs).toISOString()}`,
      `Name a later one; it is ${new Date(nowMs).toISOString()} now.`,
    );
  }
  return { startMs, endMs };
}

/** A plan does not live to see a window that starts after the policy's `plan_valid_ms`. */
export function checkWindowStart(
  { startMs }: WindowMs,
  { nowMs, planValidMs }: { readonly nowMs: number; readonly planValidMs: number },
): void {
  const latestMs = nowMs + planValidMs;
  if (startMs < latestMs) return;
  throw usageFault(
    `a plan lives ${span(planValidMs)} (plan_valid_ms of the policy), and this window starts later`,
    `The latest start is ${new Date(latestMs).toISOString()}; plan it when it is nearer.`,
  );
}

export function parseReason(text: string): string {
  if (text.length > 0 && text.length <= reasonCharactersMax && !/[^\P{Cc}\n]/u.test(text))
    return text;
  throw usageFault(
    `a reason has 1 to ${reasonCharactersMax} characters and no control characters`,
    'Say in one line why the keys are turned.',
  );
}

export function parsePlanId(text: string): string {
  if (planIdPattern.test(text)) return text;
  throw usageFault(
    `"${text.slice(0, 80)}" is not the id of a plan`,
    'See the plans: gyre rotation list.',
  );
}

function instantOf(text: string): number | null {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)$/.test(text)) return null;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? null : ms;
}

function requireLayer(wanted: number): LayerNumber {
  const layer = layerNumbers.find((known) => known === wanted);
  if (layer !== undefined) return layer;
  const known = layerNumbers.map((each) => `${each} ${layerNames[each]}`).join(', ');
  throw usageFault(`there is no layer ${wanted}`, `Layers: ${known}.`);
}

function badLayers(text: string) {
  return usageFault(`"${text.slice(0, 40)}" names no layers`, 'Write 1-7, or 1,3, or 1,4-6.');
}
