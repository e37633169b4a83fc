/* The vendor of upstream.py, in C, without TLS: it writes what native.py made before.
 *
 *     vendor PORT FILE
 *
 * FILE has for each dialect: what its paths hold, the JSON answer, a stream's head with its first
 * events, a piece of text with the place of its time stamp, and the end of a stream with and
 * without usage. upstream.py says what a request may ask for.
 */
#include "native.h"
#include <poll.h>

#define MOST_DIALECTS 8
#define HEAD_BYTES 16384
#define ANSWER_BYTES 65536
#define SHORT_BODY 8192
#define GOLDEN_RATIO 0.6180339887
#define STATUS_AT 9 /* in "HTTP/1.1 200" */

struct answers {
    struct bytes path, json, start, piece, end, end_without_usage;
    size_t stamp_at;
};

/* Requests of a connection come one after another, never two at once. */
struct connection {
    int socket, timer;
    bool in_body, chunked;
    size_t held;
    long missing, pieces_left;
    const struct answers *answers;
    char head[HEAD_BYTES], asked[256], tail[LAST_CHUNK_BYTES];
};

static struct answers dialects[MOST_DIALECTS];
static size_t dialect_count;
static int epoll;

static void drop(struct connection *it) {
    int files[] = {it->socket, it->timer};
    for (size_t each = 0; each < 2; each++)
        if (files[each] >= 0) {
            owners[files[each]] = NULL;
            close(files[each]);
        }
    free(it);
}

/* Answers fit the socket's buffer: this waits for a gateway only that reads nothing at all. Where
 * the gateway is gone, the next read finds that out. */
static void say(const struct connection *it, const char *at, size_t size) {
    while (size) {
        ssize_t sent = send(it->socket, at, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return;
        if (sent < 0)
            poll(&(struct pollfd){.fd = it->socket, .events = POLLOUT}, 1, -1);
        else
            at += sent, size -= (size_t)sent;
    }
}

static void stamp(const struct answers *answers) {
    char digits[24];
    snprintf(digits, sizeof digits, "%016ld", now());
    memcpy(answers->piece.at + answers->stamp_at + 1, digits, 16);
}

static long asked(const struct connection *it, const char *name, long otherwise) {
    const char *at = strstr(it->asked, name);
    return at ? strtol(at + strlen(name), NULL, 10) : otherwise;
}

/* How much later than the others a stream's pieces come, less than `pace`. Streams of real vendors
 * do not keep step; here, those that a gateway asked for in one moment would, and their pieces would
 * come in bursts, which cost a gateway less. So each would measure a load of its own making. */
static long own_phase(long pace) {
    static double turn;
    turn += GOLDEN_RATIO; /* what spreads any number of streams evenly */
    turn -= (double)(long)turn;
    return (long)(turn * (double)pace);
}

static void reply(struct connection *it) {
    const struct answers *of = it->answers;
    long status = asked(it, "status=", 200), chunks = asked(it, "chunks=", 0);
    long pace = asked(it, "pace=", 20) * MILLISECOND;
    if (!chunks || status != 200) {
        of->json.at[STATUS_AT] = (char)('0' + status / 100 % 10);
        of->json.at[STATUS_AT + 1] = (char)('0' + status / 10 % 10);
        of->json.at[STATUS_AT + 2] = (char)('0' + status % 10);
        say(it, of->json.at, of->json.size);
        return;
    }
    char both[ANSWER_BYTES];
    stamp(of);
    memcpy(both, of->start.at, of->start.size);
    memcpy(both + of->start.size, of->piece.at, of->piece.size);
    say(it, both, of->start.size + of->piece.size);
    it->pieces_left = chunks;
    if (it->timer < 0)
        own(it, it->timer = new_timer(epoll));
    fire_every(it->timer, pace ? pace : 1, own_phase(pace));
}

/* By the clock, not by the last piece: a pace that does not drift, and streams that stay apart. */
static void go_on(struct connection *it) {
    const struct answers *of = it->answers;
    for (uint64_t times = fired(it->timer); times && it->pieces_left; times--) {
        if (--it->pieces_left) {
            stamp(of);
            say(it, of->piece.at, of->piece.size);
            continue;
        }
        fire_every(it->timer, 0, 0);
        const struct bytes *end = asked(it, "usage=", 1) ? &of->end : &of->end_without_usage;
        say(it, end->at, end->size);
    }
}

/* Keep the last bytes of a body that ends as chunked ones do; they may come in parts. */
static bool is_last_chunk(struct connection *it, const char *at, size_t size) {
    size_t fresh = size < LAST_CHUNK_BYTES ? size : LAST_CHUNK_BYTES;
    memmove(it->tail, it->tail + fresh, LAST_CHUNK_BYTES - fresh);
    memcpy(it->tail + LAST_CHUNK_BYTES - fresh, at + size - fresh, fresh);
    return !memcmp(it->tail, LAST_CHUNK, LAST_CHUNK_BYTES);
}

static void keep(struct connection *it, const char *from, const char *to) {
    size_t size = (size_t)(to - from);
    size = size < sizeof it->asked ? size : sizeof it->asked - 1;
    memcpy(it->asked, from, size);
    it->asked[size] = 0;
}

/* Where the path asks for nothing, `user` in the beginning of the body may. */
static void look_for_user(struct connection *it, const char *at, size_t size) {
    static const char name[] = "\"user\":";
    size = size < SHORT_BODY ? size : SHORT_BODY;
    const char *end = at + size, *user = memmem(at, size, name, sizeof name - 1);
    const char *from = user ? user + sizeof name - 1 : end;
    from = memchr(from, '"', (size_t)(end - from));
    const char *to = from ? memchr(from + 1, '"', (size_t)(end - from) - 1) : NULL;
    if (to && memmem(from, (size_t)(to - from), "chunks=", 7))
        keep(it, from + 1, to);
}

static void take_body(struct connection *it, const char *at, size_t size) {
    if (!it->asked[0])
        look_for_user(it, at, size);
    it->missing -= (long)size;
    if (it->chunked ? is_last_chunk(it, at, size) : it->missing <= 0) {
        it->in_body = false;
        it->held = 0;
        reply(it);
    }
}

/* Take a head once it is whole, and what of the body came with it; false for what is no request. */
static bool take_head(struct connection *it) {
    it->head[it->held] = 0;
    char *end = memmem(it->head, it->held, BLANK_LINE, 4);
    if (!end)
        return it->held < HEAD_BYTES - 1;
    *end = 0;
    char *target = strchr(it->head, ' '), *rest = target ? strchr(target + 1, ' ') : NULL;
    if (!rest)
        return false;
    it->missing = content_length(it->head);
    it->chunked = it->missing < 0;
    *rest = 0;
    char *query = strchr(target, '?');
    keep(it, query ? query + 1 : rest, rest);
    it->answers = dialects; /* the first one's, unless the path is another's */
    for (size_t each = 1; each < dialect_count; each++)
        if (strstr(target, dialects[each].path.at))
            it->answers = &dialects[each];
    memcpy(it->tail, "-----\r\n", LAST_CHUNK_BYTES); /* the end of the head comes before chunks */
    it->in_body = true;
    char *body = end + 4;
    take_body(it, body, it->held - (size_t)(body - it->head));
    return true;
}

static void receive(struct connection *it) {
    static char scratch[1 << 18];
    char *into = it->in_body ? scratch : it->head + it->held;
    size_t room = it->in_body ? sizeof scratch : HEAD_BYTES - 1 - it->held;
    ssize_t got = read(it->socket, into, room);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        drop(it);
    } else if (it->in_body) {
        take_body(it, scratch, (size_t)got);
    } else {
        it->held += (size_t)got;
        if (!take_head(it))
            drop(it);
    }
}

static void accept_all(int listener) {
    int socket;
    while ((socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *it = grown(NULL, sizeof *it);
        it->socket = socket, it->timer = -1, it->in_body = false, it->held = 0, it->pieces_left = 0;
        own(it, socket);
        watch(epoll, EPOLL_CTL_ADD, socket, EPOLLIN);
    }
}

static void read_answers(const char *name) {
    FILE *file = fopen(name, "rb");
    if (!file)
        fail(name);
    long count = number(file);
    if (count < 1 || count > MOST_DIALECTS)
        fail("the number of dialects");
    for (; dialect_count < (size_t)count; dialect_count++) {
        struct answers *of = &dialects[dialect_count];
        of->path = field(file), of->json = field(file), of->start = field(file);
        of->piece = field(file), of->stamp_at = (size_t)number(file);
        of->end = field(file), of->end_without_usage = field(file);
        if (of->start.size + of->piece.size > ANSWER_BYTES || of->stamp_at + 17 > of->piece.size)
            fail("an answer that does not fit");
    }
    fclose(file);
}

int main(int count, char **arguments) {
    if (count != 3)
        fail("usage: vendor PORT FILE");
    read_answers(arguments[2]);
    allow_many_files();
    epoll = sure(epoll_create1(0), "epoll_create1");
    int listener = new_socket(), one = 1; /* what it accepts has TCP_NODELAY, too */
    sure(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), "SO_REUSEADDR");
    struct sockaddr_in address = loopback(atoi(arguments[1]));
    sure(bind(listener, (struct sockaddr *)&address, sizeof address), "bind");
    sure(listen(listener, 4096), "listen");
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int each = 0; each < ready; each++) {
            int file = events[each].data.fd;
            struct connection *it = owners[file]; /* none: dropped by an event before */
            if (file == listener)
                accept_all(listener);
            else if (it && file == it->timer)
                go_on(it);
            else if (it)
                receive(it);
        }
    }
}
