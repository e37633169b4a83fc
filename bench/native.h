/* What vendor.c and client.c share: the clock, timers, and the fields that native.py hands over. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000L /* in nanoseconds, as all times here */
#define MILLISECOND 1000000L
#define EVENTS 256
#define MOST_FILES 65536
#define BLANK_LINE "\r\n\r\n"
#define LAST_CHUNK "\r\n0\r\n\r\n"
#define LAST_CHUNK_BYTES (sizeof LAST_CHUNK - 1)

struct bytes {
    char *at;
    size_t size;
};

static inline void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Pass a result on; end the program where it is an error. */
static inline int sure(int result, const char *what) {
    if (result < 0)
        fail(what);
    return result;
}

static inline void *grown(void *old, size_t size) {
    void *found = realloc(old, size);
    if (!found)
        fail("memory");
    return found;
}

/* The connection that a socket or a timer belongs to; none once it is closed. */
static struct connection *owners[MOST_FILES];

static inline void own(struct connection *it, int file) {
    if (file >= MOST_FILES)
        fail("too many connections");
    owners[file] = it;
}

static inline long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

/* Let a timer fire every so many nanoseconds from now on, by the clock, and each time so many later;
 * 0 stops it. */
static inline void fire_every(int timer, long pause, long later) {
    struct timespec each = {pause / SECOND, pause % SECOND};
    struct timespec first = {(pause + later) / SECOND, (pause + later) % SECOND};
    struct itimerspec spec = {each, first};
    sure(timerfd_settime(timer, 0, &spec, NULL), "timerfd_settime");
}

/* How often a timer has fired since this was last asked. */
static inline uint64_t fired(int timer) {
    uint64_t times;
    return read(timer, &times, sizeof times) == sizeof times ? times : 0;
}

static inline void watch(int epoll, int how, int file, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = file};
    sure(epoll_ctl(epoll, how, file, &event), "epoll_ctl");
}

static inline int new_timer(int epoll) {
    int timer = sure(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), "timerfd_create");
    watch(epoll, EPOLL_CTL_ADD, timer, EPOLLIN);
    return timer;
}

static inline int new_socket(void) {
    int one = 1, found = sure(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    sure(setsockopt(found, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), "TCP_NODELAY");
    return found;
}

static inline struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/* Open as many files as this user may: a stream takes up to two. */
static inline void allow_many_files(void) {
    struct rlimit limit;
    sure(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    sure(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
}

/* Read the next field, a netstring (`5:hello,`); a zero byte that is not counted follows it. */
static inline struct bytes field(FILE *file) {
    struct bytes found = {NULL, 0};
    if (fscanf(file, "%zu:", &found.size) != 1)
        fail("a field is missing");
    found.at = grown(NULL, found.size + 1);
    found.at[found.size] = 0;
    if (fread(found.at, 1, found.size, file) != found.size || getc(file) != ',')
        fail("a field is cut short");
    return found;
}

static inline long number(FILE *file) {
    struct bytes digits = field(file);
    long found = strtol(digits.at, NULL, 10);
    free(digits.at);
    return found;
}

/* The length that a head announces, or -1 for none. It ends with a zero byte. */
static inline long content_length(const char *head) {
    static const char name[] = "\r\ncontent-length:";
    const char *at = strcasestr(head, name);
    return at ? strtol(at + sizeof name - 1, NULL, 10) : -1;
}
