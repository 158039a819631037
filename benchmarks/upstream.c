// A pretend model provider that costs next to nothing: one thread, epoll, answers made ready at start.
//
//   upstream PORT EVENTS GAP_US
//
//   POST .../chat/completions   OpenAI chat, whole, or streamed if the body says "stream":true
//                               (a usage event comes only if the body says "include_usage":true)
//   POST .../messages           Anthropic Messages, whole or streamed
//   GET  /count                 {"answers":N,"aborted":N}: what was asked so far, streams cut by the caller
//
// A stream is: the opening events in one write, EVENTS text events GAP_US apart (one chunk and one write
// each), the closing events in one write. A body that does not name the model "mock-model" gets a 404, so
// a gateway that forgets to put its own model name in place of the public one cannot look fast.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "answers.h"

typedef struct Conn {
  int fd, left;                 // left: text events still to send; -1 when no stream is running
  const Script *script;
  int64_t due;
  char *in;
  size_t used, room, head, need; // head: bytes of the request's head; need: of the whole request; 0: unknown
  size_t chunk;                 // where the next chunk-size line of a chunked body begins; 0: body is not chunked
  TAILQ_ENTRY(Conn) waiting;
} Conn;

// Every stream has the same gap, so a plain queue is always in order of time: no heap is needed.
static TAILQ_HEAD(Queue, Conn) queue = TAILQ_HEAD_INITIALIZER(queue);
static Script chat, chat_usage, messages;
static int events;
static int64_t gap_us;
static long answers, aborted;
static const char NO_PATH[] = "{\"error\":{\"message\":\"no such path\",\"type\":\"invalid_request_error\"}}";
static const char NO_MODEL[] = "{\"error\":{\"message\":\"no such model\",\"type\":\"invalid_request_error\"}}";

static int64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void hang_up(Conn *c) {
  if (c->left >= 0) {
    TAILQ_REMOVE(&queue, c, waiting);
    aborted++;
  }
  close(c->fd);
  free(c->in);
  free(c);
}

// An answer is far smaller than a socket's buffer: a caller so slow that it does not fit is hung up on.
static int say(Conn *c, const Text *t) { return send(c->fd, t->at, t->len, MSG_NOSIGNAL) == (ssize_t)t->len; }

static int say_other(Conn *c, const char *status, const char *body) {
  Text t = {0};
  add_answer(&t, status, "", body);
  int ok = say(c, &t);
  free(t.at);
  return ok;
}

static void wait_for_gap(Conn *c, int64_t now) {
  c->due = now + gap_us;
  TAILQ_INSERT_TAIL(&queue, c, waiting);
}

static void send_due_events(void) {
  Conn *c;
  int64_t now = now_us();
  while ((c = TAILQ_FIRST(&queue)) && c->due <= now) {
    const Text *t = c->left ? &c->script->event : &c->script->closing;
    if (!say(c, t)) { hang_up(c); continue; }
    TAILQ_REMOVE(&queue, c, waiting);
    if (c->left--) wait_for_gap(c, now);
  }
}

// Bodies keep what matters near one of their ends, so a prompt of any size costs the same.
static int says(const Conn *c, const char *what) {
  const size_t edge = 4096, n = c->need - c->head;
  const char *body = c->in + c->head;
  if (n <= 2 * edge) return memmem(body, n, what, strlen(what)) != NULL;
  return memmem(body, edge, what, strlen(what)) || memmem(body + n - edge, edge, what, strlen(what));
}

static int says_true(const Conn *c, const char *key) {
  char tight[64], loose[64];
  sprintf(tight, "\"%s\":true", key);
  sprintf(loose, "\"%s\": true", key);
  return says(c, tight) || says(c, loose);
}

static int answer(Conn *c) { // 0: hang up
  char *path = memchr(c->in, ' ', c->head), *end = path ? strpbrk(path + 1, " ?\r") : NULL, count[96];
  if (!end) return 0;
  size_t n = end - ++path;
  if (n == 6 && !memcmp(path, "/count", n)) {
    sprintf(count, "{\"answers\":%ld,\"aborted\":%ld}", answers, aborted);
    return say_other(c, "200 OK", count);
  }
  int is_chat = n >= 17 && !memcmp(end - 17, "/chat/completions", 17);
  int is_messages = n >= 9 && !memcmp(end - 9, "/messages", 9);
  if (*c->in != 'P' || !(is_chat || is_messages)) return say_other(c, "404 Not Found", NO_PATH);
  if (!says(c, "\"mock-model\"")) return say_other(c, "404 Not Found", NO_MODEL);
  answers++;
  c->script = is_messages ? &messages : says_true(c, "include_usage") ? &chat_usage : &chat;
  if (!says_true(c, "stream")) return say(c, &c->script->whole);
  if (!say(c, &c->script->opening)) return 0;
  c->left = events;
  wait_for_gap(c, now_us());
  return 1;
}

// Finds where the request ends, remembering how far it looked. 1: the whole request is there.
static int complete(Conn *c) {
  if (!c->head) {
    char *end = memmem(c->in, c->used, "\r\n\r\n", 4);
    if (!end) return 0;
    c->head = end + 4 - c->in;
    *end = 0;
    char *length = strcasestr(c->in, "\r\ncontent-length:");
    if (length) c->need = c->head + strtoul(length + 17, NULL, 10);
    else if (strcasestr(c->in, "\r\ntransfer-encoding: chunked")) c->chunk = c->head;
    else c->need = c->head;
  }
  while (c->chunk && !c->need) {
    char *line = c->chunk < c->used ? memchr(c->in + c->chunk, '\n', c->used - c->chunk) : NULL;
    if (!line) return 0;
    size_t size = strtoul(c->in + c->chunk, NULL, 16);
    c->chunk = line + 1 - c->in + size + 2;
    if (!size) c->need = c->chunk;
  }
  return c->used >= c->need;
}

static void hear(Conn *c) {
  if (c->room - c->used < 65536) c->in = realloc(c->in, c->room = c->room * 2 + 131072);
  ssize_t n = recv(c->fd, c->in + c->used, c->room - c->used - 1, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) { hang_up(c); return; }
  c->in[c->used += n] = 0;
  if (!complete(c)) return;
  // One request at a time: a caller that sends ahead, or during a stream, is not a gateway we know.
  if (c->used > c->need || c->left >= 0 || !answer(c)) { hang_up(c); return; }
  c->used = c->head = c->need = c->chunk = 0;
}

static int listen_on(int port) {
  int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096)) { perror("upstream"); exit(1); }
  return fd;
}

static void meet(int listener, int ep) {
  int fd, one = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    Conn *c = calloc(1, sizeof *c);
    c->fd = fd;
    c->left = -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &(struct epoll_event){EPOLLIN, {.ptr = c}});
  }
}

int main(int argc, char **argv) {
  if (argc != 4) { fprintf(stderr, "upstream PORT EVENTS GAP_US\n"); return 2; }
  events = atoi(argv[2]);
  gap_us = atoll(argv[3]);
  write_chat(&chat, 0);
  write_chat(&chat_usage, 1);
  write_messages(&messages);
  int listener = listen_on(atoi(argv[1])), ep = epoll_create1(0);
  epoll_ctl(ep, EPOLL_CTL_ADD, listener, &(struct epoll_event){EPOLLIN, {.ptr = NULL}});
  for (struct epoll_event ready[128];;) {
    struct timespec pause, *until = NULL;
    if (!TAILQ_EMPTY(&queue)) {
      int64_t d = TAILQ_FIRST(&queue)->due - now_us();
      if (d < 0) d = 0;
      pause = (struct timespec){d / 1000000, d % 1000000 * 1000};
      until = &pause;
    }
    int n = epoll_pwait2(ep, ready, 128, until, NULL);
    for (int i = 0; i < n; i++) {
      if (ready[i].data.ptr) hear(ready[i].data.ptr);
      else meet(listener, ep);
    }
    send_due_events();
  }
}
