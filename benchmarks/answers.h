// What the pretend provider says: the bytes of its answers, made once at start. After what OpenAI and Anthropic send.
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { char *at; size_t len; } Text;
// A whole answer, and a streamed one: opening and closing are one write each, event is sent again and again.
typedef struct { Text whole, opening, event, closing; } Script;

#define OPENAI_HEADERS \
  "Date: Sun, 01 Nov 2026 12:00:00 GMT\r\nServer: cloudflare\r\nOpenAI-Organization: org-bench\r\n" \
  "OpenAI-Processing-Ms: 412\r\nOpenAI-Version: 2020-10-01\r\nX-Request-Id: req_3f1c8a5be0d94c0fa2b7d64e5c901a77\r\n" \
  "X-RateLimit-Limit-Requests: 10000\r\nX-RateLimit-Limit-Tokens: 2000000\r\n" \
  "X-RateLimit-Remaining-Requests: 9998\r\nX-RateLimit-Remaining-Tokens: 1998712\r\n" \
  "X-RateLimit-Reset-Requests: 6ms\r\nX-RateLimit-Reset-Tokens: 38ms\r\nCF-Cache-Status: DYNAMIC\r\n" \
  "Strict-Transport-Security: max-age=31536000; includeSubDomains; preload\r\nX-Content-Type-Options: nosniff\r\n" \
  "Set-Cookie: __cf_bm=Zk3yq0b1.x7-1793534400-1.0.1.1-Qm5; path=/; HttpOnly; Secure; SameSite=None\r\n" \
  "CF-RAY: 98c1f2ab3d4e5f60-FRA\r\n"
#define ANTHROPIC_HEADERS \
  "Date: Sun, 01 Nov 2026 12:00:00 GMT\r\nServer: cloudflare\r\nRequest-Id: req_011CVbenchbenchbenchbench\r\n" \
  "Anthropic-Organization-Id: 5f0c7a9e-8b3d-4f21-9e60-2d7c1b4a8f35\r\n" \
  "Anthropic-RateLimit-Requests-Limit: 4000\r\nAnthropic-RateLimit-Requests-Remaining: 3999\r\n" \
  "Anthropic-RateLimit-Requests-Reset: 2026-11-01T12:00:01Z\r\n" \
  "Anthropic-RateLimit-Input-Tokens-Limit: 400000\r\nAnthropic-RateLimit-Input-Tokens-Remaining: 399000\r\n" \
  "Anthropic-RateLimit-Output-Tokens-Limit: 80000\r\nAnthropic-RateLimit-Output-Tokens-Remaining: 79000\r\n" \
  "Strict-Transport-Security: max-age=31536000; includeSubDomains; preload\r\nCF-Cache-Status: DYNAMIC\r\n" \
  "CF-RAY: 98c1f2ab3d4e5f61-FRA\r\n"
#define WORDS "fjord and hill and fjord again, said the old ferryman, who had crossed that water " \
  "every day for forty years."
#define CHAT_ID "\"id\":\"chatcmpl-D4kQ0vXw7RtYbNcM2sLpZ8eUaHfJ\",\"created\":1793534400,\"model\":\"mock-model\"," \
  "\"service_tier\":\"default\",\"system_fingerprint\":\"fp_7b31a90c5e\","
#define CHUNK "data: {\"object\":\"chat.completion.chunk\"," CHAT_ID "\"choices\":["
#define CHOICE(delta, finish) CHUNK "{\"index\":0,\"delta\":" delta ",\"logprobs\":null,\"finish_reason\":" finish "}]"
#define CHAT_USAGE "\"usage\":{\"prompt_tokens\":187,\"completion_tokens\":100,\"total_tokens\":287," \
  "\"prompt_tokens_details\":{\"cached_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0}}"
#define MESSAGE "\"id\":\"msg_01Bench7RtYbNcM2sLpZ8eUa\",\"type\":\"message\",\"role\":\"assistant\"," \
  "\"model\":\"mock-model\","
#define NAMED(name, rest) "event: " name "\ndata: {\"type\":\"" name "\"" rest "}\n\n"

static void add(Text *t, const char *s) {
  size_t n = strlen(s);
  t->at = realloc(t->at, t->len + n + 1);
  memcpy(t->at + t->len, s, n + 1);
  t->len += n;
}

static void add_chunk(Text *t, const char *s) {
  char size[32];
  sprintf(size, "%zx\r\n", strlen(s));
  add(t, size);
  add(t, s);
  add(t, "\r\n");
}

static void add_answer(Text *t, const char *status, const char *headers, const char *body) {
  char length[64];
  sprintf(length, "Content-Length: %zu\r\n\r\n", strlen(body));
  add(t, "HTTP/1.1 ");
  add(t, status);
  add(t, "\r\nContent-Type: application/json\r\n");
  add(t, headers);
  add(t, length);
  add(t, body);
}

static void add_stream_head(Text *t, const char *headers) {
  add(t, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n");
  add(t, headers);
  add(t, "Transfer-Encoding: chunked\r\n\r\n");
}

static inline void write_chat(Script *s, int usage) {
  // With usage asked for, every event but the last says "usage":null, as OpenAI's do.
  const char *tail = usage ? ",\"usage\":null}\n\n" : "}\n\n";
  char event[2048];
  add_answer(&s->whole, "200 OK", OPENAI_HEADERS,
    "{\"object\":\"chat.completion\"," CHAT_ID "\"choices\":[{\"index\":0,"
    "\"message\":{\"role\":\"assistant\",\"content\":\"" WORDS "\",\"refusal\":null,\"annotations\":[]},"
    "\"logprobs\":null,\"finish_reason\":\"stop\"}]," CHAT_USAGE "}");
  add_stream_head(&s->opening, OPENAI_HEADERS);
  sprintf(event, "%s%s", CHOICE("{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}", "null"), tail);
  add_chunk(&s->opening, event);
  sprintf(event, "%s%s", CHOICE("{\"content\":\" fjord\"}", "null"), tail);
  add_chunk(&s->event, event);
  sprintf(event, "%s%s", CHOICE("{}", "\"stop\""), tail);
  add_chunk(&s->closing, event);
  if (usage) add_chunk(&s->closing, CHUNK "]," CHAT_USAGE "}\n\n");
  add_chunk(&s->closing, "data: [DONE]\n\n");
  add(&s->closing, "0\r\n\r\n");
}

static inline void write_messages(Script *s) {
  add_answer(&s->whole, "200 OK", ANTHROPIC_HEADERS,
    "{" MESSAGE "\"content\":[{\"type\":\"text\",\"text\":\"" WORDS "\"}],"
    "\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":187,"
    "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":100}}");
  add_stream_head(&s->opening, ANTHROPIC_HEADERS);
  add_chunk(&s->opening, NAMED("message_start", ",\"message\":{" MESSAGE "\"content\":[],\"stop_reason\":null,"
    "\"stop_sequence\":null,\"usage\":{\"input_tokens\":187,\"cache_creation_input_tokens\":0,"
    "\"cache_read_input_tokens\":0,\"output_tokens\":1}}"));
  add_chunk(&s->opening, NAMED("content_block_start",
    ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}"));
  add_chunk(&s->opening, NAMED("ping", ""));
  add_chunk(&s->event, NAMED("content_block_delta",
    ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" fjord\"}"));
  add_chunk(&s->closing, NAMED("content_block_stop", ",\"index\":0"));
  add_chunk(&s->closing, NAMED("message_delta", ",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},"
    "\"usage\":{\"output_tokens\":100}"));
  add_chunk(&s->closing, NAMED("message_stop", ""));
  add(&s->closing, "0\r\n\r\n");
}
