/** Invariant 10 of healings, each with what it must find: whose word it was, one action, one at a time. */

import { expect, it } from 'vitest';
import { hashOf, owner } from './stage-parts.ts';
import { Stage } from './stage.ts';
import { Story } from './story.ts';

function healed(stage: Stage, id: string, actionId: string): Story {
  const body = { claim: { actionId } };
  stage.tell(owner, 'healing-action-requested', body, { hash: hashOf(`request ${id}`) });
  return new Story(stage, { id }).executed();
}

function found(stage: Stage): string[] {
  stage.checks.atRest();
  const about = stage.found(10).filter(({ what }) => what.includes('healing'));
  return about.map(({ what }) => what).toSorted();
}

it('is for layer 7 alone to ask', () => {
  const stage = new Stage();
  healed(stage, 'plan-1', 'heal-1');
  expect(found(stage)).toEqual([`a healing was begun for ${owner}`]);
});

it('does not look at what operators asked for', () => {
  const stage = new Stage();
  new Story(stage, { id: 'plan-1' }).executed();
  new Story(stage, { id: 'plan-2' }).executed();
  expect(found(stage)).toEqual([]);
});

it('has one plan for one action, one at a time, and leaves a layer alone after it', () => {
  const stage = new Stage();
  healed(stage, 'plan-1', 'heal-1');
  healed(stage, 'plan-2', 'heal-1');
  healed(stage, 'plan-3', 'heal-3');
  const others = found(stage).filter((what) => !what.includes('begun for'));
  expect(others).toEqual([
    'two healings rest on heal-1',
    'two healings run at a time',
    'two healings run at a time',
    'two healings run at a time',
    'two healings turn layer 1 within 0 ms',
    'two healings turn layer 1 within 0 ms',
    'two healings turn layer 1 within 0 ms',
  ]);
});
