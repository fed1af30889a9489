/* The load generator: many connections, one message under way on each, one thread.
 *
 *     load PORT SERVER_PID MESSAGE_SIZE SPIN
 *
 * Reads commands, one a line, and answers each with one line:
 *
 *     open N                open N connections (at most 1024), after closing those of before   -> ok N
 *     run MS LIMIT          send for MS milliseconds, at most LIMIT messages                   -> figures
 *     quit                  end
 *
 * The figures are: messages answered, wall clock, processor time of the server, processor time of this process, median
 * and 99th percentile of the time from sending a message to having its whole answer (all in nanoseconds). The
 * processor time of the server is read here, before the first message and after the last answer, from its processor clock
 * (clock_getcpuclockid(3)), which counts user and system time in nanoseconds. That clock is exact while the server
 * sleeps, so it gets a moment to go to sleep.
 *
 * With SPIN this process never sleeps while it sends, so that the server pays for no wake-up of ours; that needs a
 * processor of its own. load.py is the same in Python.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAXIMUM_CONNECTIONS 1024
#define MAXIMUM_EVENTS 128
#define MAXIMUM_SIZE 65536
#define SAMPLES (1u << 20)
#define SETTLE 2000000 /* nanoseconds */

typedef unsigned long long nanoseconds;

static struct connection {
    int fd;
    size_t received;
    nanoseconds sent_at;
} connections[MAXIMUM_CONNECTIONS];

static int opened, epoll;
static size_t size;
static char message[MAXIMUM_SIZE], answer[MAXIMUM_SIZE];
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

static void open_connections(int wanted, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    while (opened > 0) close(connections[--opened].fd);
    while (opened < wanted) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)opened};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
        connections[opened++].fd = fd;
    }
}

static void ask(struct connection *connection, nanoseconds time) {
    connection->received = 0;
    connection->sent_at = time;
    if (send(connection->fd, message, size, MSG_NOSIGNAL) != (ssize_t)size) fail("send");
}

/* 1 when the answer is complete. */
static int hear(struct connection *connection) {
    ssize_t count = recv(connection->fd, answer, size - connection->received, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (count <= 0) fail("the server ended a connection");
    connection->received += (size_t)count;
    return connection->received == size;
}

static int compare(const void *left, const void *right) {
    unsigned a = *(const unsigned *)left, b = *(const unsigned *)right;
    return (a > b) - (a < b);
}

static void run(nanoseconds duration, unsigned long limit, clockid_t server, int spin) {
    unsigned long answered = 0, asked = 0;
    int pending = 0;
    nanoseconds server_before = now(server), own_before = now(CLOCK_PROCESS_CPUTIME_ID);
    nanoseconds before = now(CLOCK_MONOTONIC), time = before;
    for (; pending < opened && asked < limit; pending++, asked++) ask(&connections[pending], time);
    while (pending > 0) {
        struct epoll_event events[MAXIMUM_EVENTS];
        int count = epoll_wait(epoll, events, MAXIMUM_EVENTS, spin ? 0 : 10000);
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        time = now(CLOCK_MONOTONIC);
        if (time - before > duration + 10000000000u) {
            fprintf(stderr, "load: no answer for 10 s\n");
            exit(1);
        }
        for (int index = 0; index < count; index++) {
            struct connection *connection = &connections[events[index].data.u32];
            if (!hear(connection)) continue;
            nanoseconds took = time - connection->sent_at;
            samples[answered++ % SAMPLES] = took < 0xFFFFFFFFu ? (unsigned)took : 0xFFFFFFFFu;
            if (asked < limit && time - before < duration) {
                asked++;
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

int main(int count, char **arguments) {
    char line[128];
    clockid_t server;
    if (count != 5) {
        fprintf(stderr, "usage: load PORT SERVER_PID MESSAGE_SIZE SPIN\n");
        return 2;
    }
    size = (size_t)atol(arguments[3]);
    if (size < 1 || size > MAXIMUM_SIZE) return 2;
    if (clock_getcpuclockid(atoi(arguments[2]), &server) != 0) fail("clock_getcpuclockid");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) fail("epoll_create1");
    memset(message, 'm', size);
    while (fgets(line, sizeof line, stdin)) {
        int wanted;
        unsigned long milliseconds, limit;
        if (sscanf(line, "open %d", &wanted) == 1 && wanted >= 0 && wanted <= MAXIMUM_CONNECTIONS) {
            open_connections(wanted, atoi(arguments[1]));
            printf("ok %d\n", opened);
        } else if (sscanf(line, "run %lu %lu", &milliseconds, &limit) == 2) {
            run((nanoseconds)milliseconds * 1000000u, limit, server, atoi(arguments[4]));
        } else {
            return strncmp(line, "quit", 4) ? 2 : 0;
        }
        fflush(stdout);
    }
    return 0;
}
