/* The floor: an echo server of one thread, level-triggered epoll, one recv and one send for each message.
 *
 * Prints a line of JSON with its port, serves until SIGTERM or until its standard input ends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAXIMUM_EVENTS 128
#define SIZE 65536

static char data[SIZE];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
}

static void echo(int fd) {
    ssize_t count = recv(fd, data, SIZE, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    for (ssize_t sent = 0; sent < count;) {
        ssize_t part = send(fd, data + sent, (size_t)(count - sent), MSG_NOSIGNAL);
        if (part < 0 && errno == EINTR) continue;
        if (part < 0) count = -1;
        else sent += part;
    }
    if (count <= 0) close(fd);
}

int main(void) {
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (listener < 0 || epoll < 0) fail("socket");
    if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 4096) < 0) fail("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &length) < 0) fail("getsockname");
    watch(epoll, listener);
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
                echo(fd);
                continue;
            }
            int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (connection < 0) continue;
            setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            watch(epoll, connection);
        }
    }
}
