/* The load generator: many connections, one request under way on each, one thread.
 *
 *     load PORT SERVER_PID REQUEST_SIZE ANSWER_SIZE SPIN [MODE [FILE]]
 *
 * Compiled with WITH_TLS it speaks TLS, and MODE is `full` or `resumed` (load_tls.h); else MODE is missing or `plain`.
 * With FILE it speaks WebSocket (load_frames.h): FILE has the opening request and one masked frame, and that is sent.
 *
 * Reads commands, one a line, and answers each with one line:
 *
 *     open N                open N connections (at most 8192), after closing those of before   -> ok N
 *     run MS LIMIT          ask for MS milliseconds, at most LIMIT requests                    -> figures
 *     churn N MS LIMIT      the same with a connection for each request, N at a time           -> figures
 *     some N MS LIMIT       the same with N requests under way, on one connection after the other -> figures
 *     cast MS LIMIT         one connection asks, and all get the answer; each counts           -> figures
 *     mute N BYTES          the last N connections send up to BYTES each, and read no more     -> ok N
 *     quit                  end
 *
 * The figures are: requests answered, wall clock, processor time of the server, processor time of this process, median
 * and 99th percentile of the time from sending a request (or connecting for it) to having its whole answer (all in
 * nanoseconds). A handshake belongs to connecting. Requests and answers consist of the letter m; an echo is a request with an answer of its size. The
 * processor time of the server is read here, before the first message and after the last answer, from its processor clock
 * (clock_getcpuclockid(3)), which counts user and system time in nanoseconds. That clock is exact while the server
 * sleeps, so it gets a moment to go to sleep.
 *
 * With SPIN this process never sleeps while it sends, so that the server pays for no wake-up of ours; that needs a
 * processor of its own. load.py is the same in Python, for open, run and churn, and without frames.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAXIMUM_CONNECTIONS 8192
#define MAXIMUM_EVENTS 128
#define MAXIMUM_SIZE (64u << 20)
#define PIECE (256u << 10)
#define SOURCES 200
#define SAMPLES (1u << 20)
#define PATIENCE 10000 /* milliseconds */
#define SETTLE 2000000 /* nanoseconds */
#define BLOCKED 300 /* milliseconds */
#define CONTROL_SIZE 125

typedef unsigned long long nanoseconds;

static struct connection {
    int fd;
    size_t received;
    int waiting; /* whether an answer has to come */
    nanoseconds sent_at;
    void *tls;
    int greeted, offered; /* whether the handshake is done; whether it was to be a resumed one */
    /* With frames: whether the opening request was sent, and its answer came; the head, or the answer; what is missing. */
    int upgrade_sent, upgraded;
    unsigned head_size, control_size;
    size_t rest;
    unsigned char head[14], control[CONTROL_SIZE];
} connections[MAXIMUM_CONNECTIONS];

static int opened, muted, epoll, port, spin;
static size_t request_size, answer_size;
static char message[PIECE], answer[PIECE];
static char *frame, *upgrade; /* NULL where no WebSocket is spoken */
static size_t upgrade_size;
static unsigned samples[SAMPLES];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static nanoseconds now(clockid_t clock) {
    struct timespec time;
    if (clock_gettime(clock, &time) < 0) fail("clock_gettime");
    return (nanoseconds)time.tv_sec * 1000000000u + (nanoseconds)time.tv_nsec;
}

#ifdef WITH_TLS
#include "load_tls.h"
#else
static int set_up_tls(const char *mode) { return *mode == 0 || strcmp(mode, "plain") == 0; }

static void begin(struct connection *connection) { connection->greeted = 1; }

static int greet(struct connection *connection) { return connection->greeted; }

static ssize_t transmit(struct connection *connection, const char *data, size_t size) {
    return send(connection->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static ssize_t collect(struct connection *connection, char *data, size_t size) {
    return recv(connection->fd, data, size, MSG_DONTWAIT);
}

static void finish(struct connection *connection) { close(connection->fd); }
#endif

static void wait_for(struct connection *connection, short events) {
    struct pollfd wait = {.fd = connection->fd, .events = events};
    if (poll(&wait, 1, spin ? 0 : PATIENCE) < 0 && errno != EINTR) fail("poll");
}

#include "load_frames.h"

/* 1 when requests may be sent. */
static int is_ready(struct connection *connection) {
    return (connection->greeted || greet(connection)) && (!frame || connection->upgraded || upgrade_step(connection));
}

static void end(struct connection *connection) {
    if (frame) say_goodbye(connection);
    finish(connection);
}

/* Each from another source address, so that connections which have just ended do not use the ports up. */
static void open_connection(struct connection *connection) {
    static unsigned source;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + source++ % SOURCES)};
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)(connection - connections)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket");
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0) fail("bind");
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) fail("connect");
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
    connection->fd = fd;
    connection->upgrade_sent = connection->upgraded = 0;
    begin(connection);
}

static void open_connections(int wanted) {
    while (opened > 0) end(&connections[--opened]);
    muted = 0;
    for (; opened < wanted; opened++) {
        open_connection(&connections[opened]);
        while (!is_ready(&connections[opened])) wait_for(&connections[opened], POLLIN);
    }
}

/* 1 when the answer is complete. Over TLS what was received may be more than one call gives. */
static int hear(struct connection *connection) {
    do {
        size_t rest = frame ? PIECE : answer_size - connection->received;
        ssize_t count = collect(connection, answer, rest < PIECE ? rest : PIECE);
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
        if (count <= 0) fail("the server ended a connection");
        if (frame) {
            if (hear_frames(connection, (unsigned char *)answer, (size_t)count)) return 1;
            continue;
        }
        if (answer[count - 1] != 'm') {
            fprintf(stderr, "load: the answer is wrong\n");
            exit(1);
        }
        connection->received += (size_t)count;
    } while (frame ? connection->tls != NULL : connection->tls && connection->received < answer_size);
    return !frame && connection->received == answer_size;
}

/* Sends the request, or, before the handshake is done, goes on with that. */
static void ask(struct connection *connection, nanoseconds time) {
    connection->received = 0;
    connection->waiting = 1;
    connection->sent_at = time;
    if (!is_ready(connection)) return;
    for (size_t sent = 0; sent < request_size;) {
        size_t rest = request_size - sent;
        const char *from = frame ? frame + sent : message;
        ssize_t part = transmit(connection, from, rest < PIECE ? rest : PIECE);
        if (part >= 0) {
            sent += (size_t)part;
        } else if (errno == EAGAIN) {
            /* The server may wait for us to read. */
            if (frame && hear(connection)) fail("an answer before the request was sent");
            wait_for(connection, POLLOUT);
        } else if (errno != EINTR) {
            fail("send");
        }
    }
}

static int compare(const void *left, const void *right) {
    unsigned a = *(const unsigned *)left, b = *(const unsigned *)right;
    return (a > b) - (a < b);
}

/* What a run does besides asking on all connections; the number that goes with it is `slots`. */
enum manner { ALL, CHURN, SOME, CAST };

static void run(nanoseconds duration, unsigned long limit, clockid_t server, enum manner manner, int slots) {
    unsigned long answered = 0, asked = 0;
    int pending = 0, churn = manner == CHURN, speaking = opened - muted, next = 0;
    if (manner == ALL || manner == CAST) slots = speaking;
    nanoseconds server_before = now(server), own_before = now(CLOCK_PROCESS_CPUTIME_ID);
    nanoseconds before = now(CLOCK_MONOTONIC), time = before;
    for (; pending < slots && asked < limit; pending++, asked++) {
        if (churn) open_connection(&connections[pending]);
        if (manner == CAST) connections[pending].received = 0, connections[pending].sent_at = time;
        if (manner != CAST) ask(&connections[pending], time);
    }
    next = pending;
    if (manner == CAST) ask(&connections[0], time);
    while (pending > 0) {
        struct epoll_event events[MAXIMUM_EVENTS];
        int count = epoll_wait(epoll, events, MAXIMUM_EVENTS, spin ? 0 : PATIENCE);
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        time = now(CLOCK_MONOTONIC);
        if (time - before > duration + 10000000000u) {
            fprintf(stderr, "load: no answer for 10 s\n");
            exit(1);
        }
        for (int index = 0; index < count; index++) {
            struct connection *connection = &connections[events[index].data.u32];
            if (!connection->greeted || (frame && !connection->upgraded)) {
                ask(connection, connection->sent_at);
                continue;
            }
            if (!hear(connection)) continue;
            connection->waiting = 0;
            nanoseconds took = time - connection->sent_at;
            samples[answered++ % SAMPLES] = took < 0xFFFFFFFFu ? (unsigned)took : 0xFFFFFFFFu;
            if (churn) end(connection);
            if (manner == CAST) {
                if (--pending > 0) continue;
                if (answered >= limit || time - before >= duration) continue;
                for (; pending < slots; pending++) connections[pending].sent_at = time;
                ask(&connections[0], time);
            } else if (asked < limit && time - before < duration) {
                asked++;
                if (manner == SOME) {
                    do connection = &connections[next++ % speaking];
                    while (connection->waiting);
                    time = now(CLOCK_MONOTONIC);
                }
                if (churn) {
                    time = now(CLOCK_MONOTONIC);
                    open_connection(connection);
                }
                ask(connection, time);
            } else {
                pending--;
            }
        }
    }
    nanoseconds wall = now(CLOCK_MONOTONIC) - before, own_used = now(CLOCK_PROCESS_CPUTIME_ID) - own_before;
    nanosleep(&(struct timespec){.tv_nsec = SETTLE}, NULL);
    nanoseconds server_used = now(server) - server_before;
    size_t kept = answered < SAMPLES ? answered : SAMPLES;
    qsort(samples, kept, sizeof *samples, compare);
    printf("%lu %llu %llu %llu %u %u\n", answered, wall, server_used, own_used, kept ? samples[kept / 2] : 0,
           kept ? samples[kept * 99 / 100] : 0);
}

/* The last connections send, as long as the server takes it, and never read again. */
static void mute(int wanted, size_t bytes) {
    size_t *sent = calloc((size_t)wanted, sizeof *sent), *place = calloc((size_t)wanted, sizeof *place);
    if (!sent || !place) fail("calloc");
    muted = wanted;
    for (int index = 0; index < muted; index++)
        if (epoll_ctl(epoll, EPOLL_CTL_DEL, connections[opened - muted + index].fd, NULL) < 0) fail("epoll_ctl");
    for (nanoseconds progress = now(CLOCK_MONOTONIC); now(CLOCK_MONOTONIC) - progress < BLOCKED * 1000000u;) {
        for (int index = 0; index < muted; index++) {
            size_t rest = request_size - place[index];
            if (sent[index] >= bytes) continue;
            const char *from = frame ? frame + place[index] : message;
            ssize_t part = transmit(&connections[opened - muted + index], from, rest < PIECE ? rest : PIECE);
            if (part <= 0) continue;
            sent[index] += (size_t)part;
            place[index] = (place[index] + (size_t)part) % request_size;
            progress = now(CLOCK_MONOTONIC);
        }
    }
    free(sent);
    free(place);
}

int main(int count, char **arguments) {
    char line[128];
    clockid_t server;
    if (count < 6 || count > 8 || !set_up_tls(count > 6 ? arguments[6] : "")) {
        fprintf(stderr, "usage: load PORT SERVER_PID REQUEST_SIZE ANSWER_SIZE SPIN [MODE [FILE]]\n");
        return 2;
    }
    port = atoi(arguments[1]);
    request_size = (size_t)atol(arguments[3]);
    answer_size = (size_t)atol(arguments[4]);
    spin = atoi(arguments[5]);
    if (count == 8) read_frames(arguments[7]);
    if (request_size - 1 >= MAXIMUM_SIZE || answer_size - 1 >= MAXIMUM_SIZE) return 2;
    if (clock_getcpuclockid(atoi(arguments[2]), &server) != 0) fail("clock_getcpuclockid");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) fail("epoll_create1");
    memset(message, 'm', sizeof message);
    while (fgets(line, sizeof line, stdin)) {
        int wanted;
        unsigned long milliseconds, limit;
        if (sscanf(line, "open %d", &wanted) == 1 && wanted >= 0 && wanted <= MAXIMUM_CONNECTIONS) {
            open_connections(wanted);
            printf("ok %d\n", opened);
        } else if (sscanf(line, "run %lu %lu", &milliseconds, &limit) == 2) {
            run((nanoseconds)milliseconds * 1000000u, limit, server, ALL, 0);
        } else if (sscanf(line, "cast %lu %lu", &milliseconds, &limit) == 2) {
            run((nanoseconds)milliseconds * 1000000u, limit, server, CAST, 0);
        } else if (sscanf(line, "some %d %lu %lu", &wanted, &milliseconds, &limit) == 3 && wanted > 0 &&
                   wanted <= opened - muted) {
            run((nanoseconds)milliseconds * 1000000u, limit, server, SOME, wanted);
        } else if (sscanf(line, "mute %d %lu", &wanted, &limit) == 2 && wanted > 0 && wanted < opened && !muted) {
            mute(wanted, limit);
            printf("ok %d\n", muted);
        } else if (sscanf(line, "churn %d %lu %lu", &wanted, &milliseconds, &limit) == 3 && wanted > 0 &&
                   wanted <= MAXIMUM_CONNECTIONS) {
            open_connections(0);
            run((nanoseconds)milliseconds * 1000000u, limit, server, CHURN, wanted);
        } else if (strncmp(line, "quit", 4)) {
            return 2;
        } else {
            break;
        }
        fflush(stdout);
    }
    open_connections(0);
    return 0;
}
