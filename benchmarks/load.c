// A closed-loop HTTP/1.1 load client that checks what it gets: one thread, epoll, keep-alive.
//
//   load PORT REQUEST_FILE CONNECTIONS SECONDS STAGGER_US WORD TIMES END
//
// Each connection sends the bytes of REQUEST_FILE, waits for the whole answer and sends them again, until
// SECONDS are over; answers still on their way are then waited for, so that every request is counted as a
// whole one. Connection i starts i * STAGGER_US late, so that streams do not all tick at the same moment.
// A good answer has status 200, is complete by its own framing, holds WORD exactly TIMES times and ends
// with END (white space after it is allowed). One line of JSON tells the rest.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { GRACE_US = 10000000, MOST_FAILURES = 1000, HEAD_ROOM = 32768, END_ROOM = 64 };
typedef enum { UNUSED, HEAD, LENGTH, UNTIL_EOF, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER } Part;
typedef struct {
  int fd, status, hang_up, matched, words; // hang_up: no keep-alive; matched: letters of WORD seen
  int reused;                              // the connection has served a request before this one
  Part part;
  size_t sent, head_len, end_len, line;    // line: length so far of a trailer line
  int64_t left;                            // bytes missing from the body or the chunk
  char head[HEAD_ROOM], end[END_ROOM];     // end: the body's last bytes other than white space
} Conn;

static Conn *conns;
static int ep, busy, word_times;
static struct sockaddr_in target = {.sin_family = AF_INET};
static char *request;
static const char *word, *wanted_end;
static size_t request_len, word_len, wanted_end_len;
static int64_t stop_at;
static long done, failed, not_200, incomplete, wrong, opened, bytes;

static int64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void drop(Conn *c) {
  close(c->fd);
  c->fd = -1;
}

static int dial(Conn *c) {
  int one = 1;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(c->fd, (struct sockaddr *)&target, sizeof target)) { drop(c); return 0; }
  opened++;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &(struct epoll_event){EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.ptr = c}});
  return 1;
}

static int push(Conn *c) { // 0: the connection is broken
  while (c->sent < request_len) {
    ssize_t n = send(c->fd, request + c->sent, request_len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN;
    c->sent += n;
  }
  return 1;
}

static void begin(Conn *c) {
  for (int attempt = 0; attempt < 2; attempt++) {
    c->reused = c->fd >= 0;
    if (c->fd < 0 && !dial(c)) break;
    c->part = HEAD;
    c->status = c->hang_up = c->matched = c->words = 0;
    c->sent = c->head_len = c->end_len = c->line = 0;
    if (push(c)) { busy++; return; }
    drop(c);
  }
  failed++;
  c->part = UNUSED;
}

static void next(Conn *c) {
  busy--;
  c->part = UNUSED;
  if (failed + incomplete < MOST_FAILURES && now_us() < stop_at) begin(c);
}

static void finish(Conn *c) { // the answer is complete
  done++;
  if (c->status != 200) not_200++;
  else if (c->words != word_times || c->end_len < wanted_end_len ||
           memcmp(c->end + c->end_len - wanted_end_len, wanted_end, wanted_end_len)) wrong++;
  if (c->hang_up || c->sent < request_len) drop(c); // answered before it had read the request: out of step
  next(c);
}

static void fail(Conn *c, long *counter) {
  (*counter)++;
  drop(c);
  next(c);
}

static void keep_end(Conn *c, const char *p, size_t n) {
  while (n && (unsigned char)p[n - 1] <= ' ') n--;
  if (!n) return;
  if (n >= END_ROOM) { p += n - END_ROOM; n = END_ROOM; c->end_len = 0; }
  size_t over = c->end_len + n > END_ROOM ? c->end_len + n - END_ROOM : 0;
  memmove(c->end, c->end + over, c->end_len -= over);
  memcpy(c->end + c->end_len, p, n);
  c->end_len += n;
}

static void take(Conn *c, const char *p, size_t n) { // some bytes of the body
  bytes += n;
  for (size_t i = 0; i < n; i++) {                   // the word may lie across two reads
    if (p[i] != word[c->matched]) c->matched = p[i] == word[0];
    else if (++c->matched == (int)word_len) { c->words++; c->matched = 0; }
  }
  keep_end(c, p, n);
}

static int read_head(Conn *c) {
  if (sscanf(c->head, "HTTP/1.%*c %d", &c->status) != 1) return 0;
  char *length = strcasestr(c->head, "\r\ncontent-length:");
  c->hang_up = strcasestr(c->head, "\r\nconnection: close") != NULL;
  c->left = 0;
  if (strcasestr(c->head, "\r\ntransfer-encoding: chunked")) c->part = CHUNK_SIZE;
  else if (length) { c->part = LENGTH; c->left = atoll(length + 17); }
  else { c->part = UNTIL_EOF; c->hang_up = 1; }
  return 1;
}

static size_t hear_head(Conn *c, const char *p, size_t n) { // returns bytes used; 0: not HTTP
  size_t before = c->head_len, room = HEAD_ROOM - 1 - before, copied = n < room ? n : room;
  if (!copied) return 0;
  memcpy(c->head + before, p, copied);
  c->head[c->head_len += copied] = 0;
  char *end = strstr(c->head + (before > 3 ? before - 3 : 0), "\r\n\r\n");
  if (!end) return copied;
  end[2] = 0;
  return read_head(c) ? (size_t)(end + 4 - c->head) - before : 0;
}

static int hear_framing(Conn *c, char ch) { // one byte of chunked framing; 0: broken
  if (c->part == CHUNK_SIZE) {
    if (ch >= '0' && ch <= '9') c->left = c->left * 16 + ch - '0';
    else if ((ch | 32) >= 'a' && (ch | 32) <= 'f') c->left = c->left * 16 + (ch | 32) - 'a' + 10;
    else if (ch == '\n') { c->part = c->left ? CHUNK_DATA : TRAILER; c->line = 0; }
    else if (ch != '\r') return 0;
  } else if (c->part == CHUNK_END) {
    if (ch == '\n') { c->part = CHUNK_SIZE; c->left = 0; }
    else if (ch != '\r') return 0;
  } else if (ch == '\n') {
    if (!c->line) finish(c);
    c->line = 0;
  } else if (ch != '\r') c->line++;
  return 1;
}

static void hear(Conn *c, const char *p, size_t n) {
  while (n) {
    size_t used = 1;
    if (c->part == UNUSED) { incomplete++; drop(c); return; } // more than was asked for
    if (c->part == HEAD) {
      used = hear_head(c, p, n);
      if (!used) { fail(c, &incomplete); return; }
      if (c->part == LENGTH && !c->left) { finish(c); return; }
    } else if (c->part == LENGTH || c->part == CHUNK_DATA) {
      used = (int64_t)n < c->left ? n : (size_t)c->left;
      take(c, p, used);
      c->left -= used;
      if (!c->left && c->part == LENGTH) { finish(c); return; }
      if (!c->left) c->part = CHUNK_END;
    } else if (c->part == UNTIL_EOF) {
      used = n;
      take(c, p, n);
    } else {
      long before = done;
      if (!hear_framing(c, *p)) { fail(c, &incomplete); return; }
      if (done != before) return; // the connection may already serve the next request
    }
    p += used;
    n -= used;
  }
}

static void serve(Conn *c, uint32_t what) {
  static char buffer[1 << 18];
  if (what & EPOLLOUT && c->part != UNUSED && !push(c)) { fail(c, &failed); return; }
  while (c->fd >= 0) {
    ssize_t n = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n > 0) {
      hear(c, buffer, n);
      if ((size_t)n < sizeof buffer && !(what & (EPOLLRDHUP | EPOLLHUP))) return;
      continue;
    }
    if (n < 0 && errno == EAGAIN) return;
    if (c->part == UNUSED) drop(c);
    // A server may close a kept connection between two requests; that is its right, so ask once more.
    else if (c->part == HEAD && c->reused && !c->head_len) { drop(c); busy--; begin(c); }
    else if (!n && c->part == UNTIL_EOF) finish(c);
    else fail(c, n ? &failed : &incomplete);
    return;
  }
}

static void run(int count, int64_t start, int64_t stagger) {
  struct epoll_event ready[256];
  for (int begun = 0;;) {
    int64_t now = now_us();
    while (begun < count && now < stop_at && start + begun * stagger <= now) begin(&conns[begun++]);
    if ((now >= stop_at || failed + incomplete >= MOST_FAILURES) && (!busy || now > stop_at + GRACE_US)) return;
    int64_t until = now < stop_at ? stop_at : stop_at + GRACE_US;
    if (begun < count && now < stop_at) until = start + begun * stagger;
    int64_t pause = until > now ? until - now : 0;
    int n = epoll_pwait2(ep, ready, 256, &(struct timespec){pause / 1000000, pause % 1000000 * 1000}, NULL);
    for (int i = 0; i < n; i++) serve(ready[i].data.ptr, ready[i].events);
  }
}

int main(int argc, char **argv) {
  FILE *file = argc == 9 ? fopen(argv[2], "rb") : NULL;
  if (!file) { fprintf(stderr, "load PORT REQUEST_FILE CONNECTIONS SECONDS STAGGER_US WORD TIMES END\n"); return 2; }
  request = malloc(1 << 24);
  request_len = fread(request, 1, 1 << 24, file);
  target.sin_port = htons(atoi(argv[1]));
  target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int count = atoi(argv[3]);
  word = argv[6];
  word_len = strlen(word);
  word_times = atoi(argv[7]);
  wanted_end = argv[8];
  wanted_end_len = strlen(wanted_end);
  conns = calloc(count, sizeof *conns);
  for (int i = 0; i < count; i++) conns[i].fd = -1;
  ep = epoll_create1(0);
  int64_t start = now_us();
  stop_at = start + (int64_t)(atof(argv[4]) * 1e6);
  run(count, start, atoll(argv[5]));
  printf("{\"requests\": %ld, \"failed\": %ld, \"not_200\": %ld, \"incomplete\": %ld, \"wrong\": %ld, "
         "\"unfinished\": %d, \"connections\": %ld, \"bytes\": %ld, \"seconds\": %.3f}\n",
         done, failed, not_200, incomplete, wrong, busy, opened, bytes, (now_us() - start) / 1e6);
}
