/* The client of load.py, in C: connections that each send a request when the last one is answered.
 *
 *     client
 *
 * Reads from stdin the name of a file for each load, which native.py wrote, and prints what came of
 * it as one line of JSON: the fields of load.py's Tally, with times in seconds. It is HTTP enough
 * for answers that this benchmark's own vendor makes, and no further.
 */
#include "native.h"

#define READ_BYTES 65536
#define STAMP_BYTES 17 /* @ and sixteen digits */
#define MARGIN (30 * SECOND)

struct samples {
    long *at;
    size_t count, room;
};

/* One load. `events` is how many a whole stream has; -1 for any number. */
static struct {
    long connections, port, seconds, chunks, pace, together, events;
    struct bytes usage, requests[2];
    struct connection *all;
    long until, opened, connected, done, sent;
    int epoll;
} load;

/* What came of it. */
static struct {
    long requests, chunks, bad, unmetered;
    struct samples whole, first, delay;
} tally;

/* `length` is that of the answer with its head: 0 while that is not whole, -1 where the answer ends
 * with a last chunk. */
struct connection {
    int socket;
    bool connected, writing, done;
    const struct bytes *request;
    size_t sent, held, room, searched;
    long began, length, stamps;
    char *answer;
};

static void add(struct samples *to, long sample) {
    if (to->count == to->room) {
        to->room = to->room ? 2 * to->room : 1024;
        to->at = grown(to->at, to->room * sizeof *to->at);
    }
    to->at[to->count++] = sample;
}

static void end(struct connection *it) {
    it->done = true;
    load.done++;
    watch(load.epoll, EPOLL_CTL_DEL, it->socket, 0);
}

static void lose(struct connection *it) {
    tally.bad++;
    end(it);
}

static void wait_for_room(struct connection *it, bool writing) {
    if (it->writing != writing)
        watch(load.epoll, EPOLL_CTL_MOD, it->socket, writing ? EPOLLIN | EPOLLOUT : EPOLLIN);
    it->writing = writing;
}

/* Write what the socket takes of the request; the rest when there is room. */
static void push(struct connection *it) {
    const char *from = it->request->at + it->sent;
    ssize_t sent = send(it->socket, from, it->request->size - it->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        lose(it);
        return;
    }
    it->sent += sent < 0 ? 0 : (size_t)sent;
    wait_for_room(it, it->sent < it->request->size);
}

static void begin(struct connection *it) {
    it->request = &load.requests[load.sent++ % 2];
    it->sent = it->held = it->searched = 0;
    it->length = it->stamps = 0;
    it->began = now();
    push(it);
}

static void open_next(void) {
    struct connection *it = &load.all[load.opened++];
    struct sockaddr_in address = loopback((int)load.port);
    it->socket = new_socket();
    it->writing = true;
    own(it, it->socket);
    if (connect(it->socket, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        fail("connect");
    watch(load.epoll, EPOLL_CTL_ADD, it->socket, EPOLLIN | EPOLLOUT);
}

static void connected(struct connection *it) {
    it->connected = true;
    load.connected++;
    wait_for_room(it, false);
    if (!load.together)
        begin(it);
    else if (load.connected == load.connections)
        for (long each = 0; each < load.connections; each++)
            begin(&load.all[each]);
}

/* Take the time of each piece of text; one that has come in part is looked at again. */
static void look_for_stamps(struct connection *it, long at) {
    char digits[STAMP_BYTES] = "", *end = it->answer + it->held, *from = it->answer + it->searched;
    while ((from = memchr(from, '@', (size_t)(end - from))) && end - from >= STAMP_BYTES) {
        memcpy(digits, ++from, STAMP_BYTES - 1);
        if (strspn(digits, "0123456789") < STAMP_BYTES - 1)
            continue;
        add(&tally.delay, at - strtol(digits, NULL, 10));
        it->stamps++;
        from += STAMP_BYTES - 1;
    }
    it->searched = (size_t)((from ? from : end) - it->answer);
}

static long count_events(const struct connection *it) {
    static const char event[] = "data: ";
    long found = 0;
    for (const char *from = it->answer; (from = strstr(from, event)); from += sizeof event - 1)
        found++;
    return found;
}

static void measure_answer(struct connection *it) {
    char *blank = strstr(it->answer, BLANK_LINE);
    if (!blank)
        return;
    *blank = 0;
    long length = content_length(it->answer);
    *blank = '\r';
    it->length = length < 0 ? -1 : blank + 4 - it->answer + length;
}

static bool is_whole(const struct connection *it) {
    if (it->length >= 0)
        return it->length && (long)it->held >= it->length;
    const char *end = it->answer + it->held;
    return it->held > LAST_CHUNK_BYTES && !memcmp(end - LAST_CHUNK_BYTES, LAST_CHUNK, LAST_CHUNK_BYTES);
}

static bool is_good(const struct connection *it) {
    long events = count_events(it), metered = strstr(it->answer, load.usage.at) != NULL;
    tally.chunks += events;
    tally.unmetered += !metered;
    return !strncmp(it->answer, "HTTP/1.1 200", 12) && it->stamps == load.chunks
           && (load.events < 0 || events == load.events - !metered)
           && (it->length < 0 || (long)it->held == it->length);
}

static void pull(struct connection *it) {
    if (it->room - it->held <= READ_BYTES)
        it->answer = grown(it->answer, it->room = 2 * it->room + 2 * READ_BYTES);
    ssize_t got = read(it->socket, it->answer + it->held, READ_BYTES);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        lose(it);
        return;
    }
    long at = now();
    if (load.chunks && !it->held)
        add(&tally.first, at - it->began);
    it->held += (size_t)got;
    it->answer[it->held] = 0;
    if (load.chunks)
        look_for_stamps(it, at);
    if (!it->length)
        measure_answer(it);
    if (!is_whole(it))
        return;
    bool good = is_good(it);
    tally.requests++;
    tally.bad += !good;
    add(&tally.whole, at - it->began);
    if (good && at < load.until)
        begin(it);
    else
        end(it);
}

static void handle(struct connection *it, uint32_t events) {
    if (!it->connected) {
        if (events & (EPOLLERR | EPOLLHUP))
            fail("no connection");
        connected(it);
        return;
    }
    if (events & EPOLLOUT && it->writing)
        push(it);
    if (events & ~(uint32_t)EPOLLOUT && !it->done)
        pull(it);
}

static void open_due(int timer) {
    for (uint64_t times = fired(timer); times && load.opened < load.connections; times--)
        open_next();
    if (load.opened == load.connections)
        fire_every(timer, 0, 0);
}

static void play(void) {
    long began = now(), deadline = began + load.seconds + load.chunks * load.pace + MARGIN;
    load.until = began + load.seconds;
    /* Streams that run in step would be served in batches, which real ones are not. */
    long apart = load.chunks && !load.together ? load.pace / load.connections : 0;
    int timer = new_timer(load.epoll);
    fire_every(timer, apart, 0);
    do
        open_next();
    while (!apart && load.opened < load.connections);
    while (load.done < load.connections) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(load.epoll, events, EVENTS, 1000);
        if (now() > deadline)
            fail("answers that do not end");
        for (int each = 0; each < ready; each++) {
            struct connection *it = owners[events[each].data.fd];
            if (!it)
                open_due(timer);
            else if (!it->done)
                handle(it, events[each].events);
        }
    }
    close(timer);
}

static void read_load(const char *name) {
    FILE *file = fopen(name, "rb");
    if (!file)
        fail(name);
    memset(&load, 0, sizeof load);
    long *numbers[] = {&load.port, &load.connections, &load.seconds, &load.chunks,
                       &load.pace, &load.together, &load.events};
    for (size_t each = 0; each < sizeof numbers / sizeof *numbers; each++)
        *numbers[each] = number(file);
    load.usage = field(file), load.requests[0] = field(file), load.requests[1] = field(file);
    load.all = grown(NULL, (size_t)load.connections * sizeof *load.all);
    memset(load.all, 0, (size_t)load.connections * sizeof *load.all);
    load.epoll = sure(epoll_create1(0), "epoll_create1");
    fclose(file);
}

static void forget_load(void) {
    for (long each = 0; each < load.connections; each++) {
        own(NULL, load.all[each].socket);
        close(load.all[each].socket);
        free(load.all[each].answer);
    }
    close(load.epoll);
    free(load.usage.at), free(load.requests[0].at), free(load.requests[1].at), free(load.all);
}

static void print_times(const char *name, struct samples *of) {
    printf(", \"%s\": [", name);
    for (size_t each = 0; each < of->count; each++)
        printf("%s%.9f", each ? "," : "", (double)of->at[each] / SECOND);
    printf("]");
    of->count = 0;
}

static void print_tally(void) {
    printf("{\"requests\": %ld, \"chunks\": %ld, ", tally.requests, tally.chunks);
    printf("\"bad\": %ld, \"unmetered\": %ld", tally.bad, tally.unmetered);
    print_times("whole", &tally.whole);
    print_times("first", &tally.first);
    print_times("delay", &tally.delay);
    printf("}\n");
    fflush(stdout);
    tally.requests = tally.chunks = tally.bad = tally.unmetered = 0;
}

int main(void) {
    char name[4096];
    allow_many_files();
    while (fgets(name, sizeof name, stdin)) {
        name[strcspn(name, "\n")] = 0;
        read_load(name);
        play();
        print_tally();
        forget_load();
    }
}
