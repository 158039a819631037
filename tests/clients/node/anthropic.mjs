// Anthropic's SDK.

import Anthropic, { AnthropicError } from '@anthropic-ai/sdk';
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { answerCases, callSchema, prompt, tokens, toolText, weatherAt, weatherSchema } from './cases.mjs';

const client = ({ url }) => new Anthropic({ baseURL: url, apiKey: 'test', maxRetries: 0 });

const tool = {
  name: 'get_weather',
  description: toolText,
  input_schema: { type: 'object', properties: { city: { type: 'string' }, unit: { type: 'string' } }, required: ['city'] },
};
const body = ({ model, scene }) => ({ model, max_tokens: 2000, messages: [{ role: 'user', content: prompt(scene) }] });

const joined = (blocks, type, member) => blocks.filter((block) => block.type === type).map((block) => block[member]).join('');

/** The input without what was read from or written to the cache is told apart: added up here. */
function said({ content, stop_reason, usage }) {
  const read = usage.cache_read_input_tokens ?? 0;
  const written = usage.cache_creation_input_tokens ?? 0;
  return {
    text: joined(content, 'text', 'text'),
    thoughts: joined(content, 'thinking', 'thinking'),
    calls: content.filter((block) => block.type === 'tool_use').map((block) => [block.name, block.input]),
    finish: stop_reason,
    tokens: tokens(usage.input_tokens + read + written, read, usage.output_tokens, usage.output_tokens_details?.thinking_tokens),
  };
}

/** The tool runner lets the server keep the talk (`thread: {type: 'create'}`), unless it is told not to. */
async function loop(asked, stream, thread = false) {
  const ran = [];
  const run = (call) => (ran.push(['get_weather', call]), weatherAt(call));
  const runnable = betaZodTool({ name: 'get_weather', description: toolText, inputSchema: callSchema, run });
  const thinking = asked.scene === 'signed' ? { thinking: { type: 'enabled', budget_tokens: 1024 } } : {};
  const runner = client(asked).beta.messages.toolRunner({
    ...body(asked), ...thinking, tools: [runnable], stream, ...(thread ? {} : { thread: false }),
  });
  return { text: joined((await runner.runUntilDone()).content, 'text', 'text'), ran };
}

await answerCases({
  whole: async (asked) => said(await client(asked).messages.create({ ...body(asked), tools: [tool] })),
  stream: async (asked) => said(await client(asked).messages.stream({ ...body(asked), tools: [tool] }).finalMessage()),
  loop: (asked) => loop(asked, false),
  loop_stream: (asked) => loop(asked, true),
  thread: (asked) => loop(asked, false, true),
  thread_stream: (asked) => loop(asked, true, true),
  object: async (asked) => {
    const format = { output_config: { format: zodOutputFormat(weatherSchema) } };
    return (await client(asked).messages.parse({ ...body(asked), ...format })).parsed_output;
  },
  object_stream: async (asked) => {
    const format = { output_config: { format: zodOutputFormat(weatherSchema) } };
    return (await client(asked).messages.stream({ ...body(asked), ...format }).finalMessage()).parsed_output;
  },
  strict_tool: async (asked) => {
    const strict = {
      name: 'tell_weather',
      strict: true,
      input_schema: {
        type: 'object',
        properties: { city: { type: 'string' }, celsius: { type: 'number' } },
        required: ['city', 'celsius'],
        additionalProperties: false,
      },
    };
    const forced = { tools: [strict], tool_choice: { type: 'tool', name: 'tell_weather' } };
    const { content } = await client(asked).messages.create({ ...body(asked), ...forced });
    return weatherSchema.parse(content.find((block) => block.type === 'tool_use').input);
  },
}, (error) => error instanceof AnthropicError);
