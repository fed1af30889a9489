/* The floor: a server of one thread, level-triggered epoll, one recv and one send for each message.
 *
 *     epoll_server ROLE UNIT
 *
 * The roles are those of moorings/benchmarks/servers.py: echo, receive, send, batch.
 * Prints a line of JSON with its port, serves until SIGTERM or until its standard input ends.
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
#include <sys/uio.h>
#include <unistd.h>

#define MAXIMUM_EVENTS 128
#define SIZE (256 << 10)
#define ECHO_SIZE 65536
#define DESCRIPTORS 65536
#define WRITES 100
#define WRITE_SIZE 100

static char data[SIZE];
static size_t received[DESCRIPTORS], unit;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
}

/* 0 when the peer has gone. */
static int send_all(int fd, size_t size) {
    while (size > 0) {
        ssize_t part = send(fd, data, size < SIZE ? size : SIZE, MSG_NOSIGNAL);
        if (part < 0 && errno != EINTR) return 0;
        if (part > 0) size -= (size_t)part;
    }
    return 1;
}

static int send_batch(int fd) {
    struct iovec writes[WRITES];
    for (int index = 0; index < WRITES; index++) writes[index] = (struct iovec){data, WRITE_SIZE};
    return writev(fd, writes, WRITES) == WRITES * WRITE_SIZE;
}

static void serve(int fd, char role) {
    ssize_t count = recv(fd, data, role == 'e' ? ECHO_SIZE : SIZE, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    int going_on = count > 0;
    if (going_on && role == 'e') going_on = send_all(fd, (size_t)count);
    if (going_on && role == 's') going_on = send_all(fd, unit);
    if (going_on && role == 'b') going_on = send_batch(fd);
    if (going_on && role == 'r' && (received[fd] += (size_t)count) >= unit) {
        received[fd] = 0;
        going_on = send_all(fd, 1);
    }
    if (!going_on) close(fd);
}

int main(int argument_count, char **arguments) {
    if (argument_count != 3) return 2;
    unit = (size_t)atol(arguments[2]);
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (listener < 0 || epoll < 0) fail("socket");
    if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 4096) < 0) fail("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &length) < 0) fail("getsockname");
    watch(epoll, listener);
    memset(data, 'm', sizeof data);
    watch(epoll, STDIN_FILENO);
    printf("{\"port\": %d, \"mode\": \"C\"}\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event events[MAXIMUM_EVENTS];
        int count = epoll_wait(epoll, events, MAXIMUM_EVENTS, -1);
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        for (int index = 0; index < count; index++) {
            int fd = events[index].data.fd;
            if (fd == STDIN_FILENO) return 0;
            if (fd != listener) {
                serve(fd, arguments[1][0]);
                continue;
            }
            int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (connection < 0) continue;
            if (connection >= DESCRIPTORS) {
                close(connection);
                continue;
            }
            received[connection] = 0;
            setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            watch(epoll, connection);
        }
    }
}
