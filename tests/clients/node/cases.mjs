// Answers cases from standard input, one JSON object a line, on standard output; what they share stands here too.

import { createInterface } from 'node:readline';
import { z } from 'zod';

export const prompt = (scene) => `Scene: ${scene}. What is the weather?`;

export const weatherSchema = z.object({ city: z.string(), celsius: z.number() });
export const callSchema = z.object({ city: z.string(), unit: z.string().optional() });
export const toolText = 'Weather at a place right now.';

/** The tool itself: what it answers is told again by the scene `loop`. */
export const weatherAt = ({ city }) => ({ Lisbon: '24 degrees', Porto: '19 degrees' })[city] ?? 'no such town';

/** Totals: input, of it cached, output, of it reasoning. */
export const tokens = (input, cached, output, reasoning) => [input ?? null, cached ?? 0, output ?? null, reasoning ?? 0];

/** Run `verbs[case.do](case)` for each case; `ownError(error)` tells whether an error is the SDK's own. */
export async function answerCases(verbs, ownError) {
  // The only thing on standard output are results: SDKs may warn as they like.
  console.log = console.warn = console.info = console.error;
  for await (const line of createInterface({ input: process.stdin })) {
    const asked = JSON.parse(line);
    let result;
    try {
      result = await verbs[asked.do](asked);
    } catch (error) {
      const { message, stack } = error;
      result = { error: { classes: classesOf(error), own: ownError(error), status: statusOf(error), message, stack } };
    }
    process.stdout.write(JSON.stringify(result) + '\n');
  }
}

const statusOf = (error) => error.status ?? error.statusCode ?? null;

function classesOf(error) {
  const names = [];
  for (let at = Object.getPrototypeOf(error); at; at = Object.getPrototypeOf(at)) names.push(at.constructor.name);
  return names;
}
