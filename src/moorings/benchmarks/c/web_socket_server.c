/* The floor for WebSockets: one thread, level-triggered epoll, one recv and one send for what came together. It takes
 * masks off, in one frame for each message, and checks nothing: no text, no reserved bits, no limits but its memory.
 *
 *     web_socket_server ROLE UNIT
 *
 * ROLE is echo or cast: messages go back to their sender, or to all. Prints a line of JSON with its port, serves until
 * its standard input ends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAXIMUM_EVENTS 128
#define DESCRIPTORS 65536
#define MAXIMUM_SIZE (4u << 20)
#define WHOLE_HEAD 14

static struct connection {
    unsigned char *kept; /* what came of a frame, or of the opening request, whose end has not come */
    size_t size;
    int upgraded;
} connections[DESCRIPTORS];

static unsigned char data[MAXIMUM_SIZE + 65536], answer[MAXIMUM_SIZE + 65536];
static int peers[DESCRIPTORS], peer_count, casting;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint32_t rotated(uint32_t value, int bits) { return value << bits | value >> (32 - bits); }

/* SHA-1 (RFC 3174) of a text of less than 119 bytes, in base64. */
static void accept_key(const char *text, char *out) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}, w[80];
    unsigned char block[128] = {0}, digest[21] = {0};
    size_t length = strlen(text), blocks = length + 9 > 64 ? 2 : 1;
    memcpy(block, text, length);
    block[length] = 0x80;
    block[blocks * 64 - 2] = (unsigned char)(length * 8 >> 8);
    block[blocks * 64 - 1] = (unsigned char)(length * 8);
    for (size_t number = 0; number < blocks; number++) {
        const unsigned char *from = block + number * 64;
        for (int i = 0; i < 16; i++, from += 4)
            w[i] = (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
        for (int i = 16; i < 80; i++) w[i] = rotated(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5A827999
                         : i < 40 ? (b ^ c ^ d) + 0x6ED9EBA1
                         : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC
                                  : (b ^ c ^ d) + 0xCA62C1D6;
            uint32_t next = rotated(a, 5) + f + e + w[i];
            e = d, d = c, c = rotated(b, 30), b = a, a = next;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++) digest[i] = (unsigned char)(h[i / 4] >> (24 - i % 4 * 8));
    for (int i = 0; i < 21; i += 3, out += 4) {
        uint32_t bits = (uint32_t)digest[i] << 16 | (uint32_t)digest[i + 1] << 8 | (i + 2 < 21 ? digest[i + 2] : 0);
        for (int place = 0; place < 4; place++) out[place] = digits[bits >> (18 - 6 * place) & 63];
    }
    out[-1] = '=';
    *out = 0;
}

static int send_all(int fd, const unsigned char *from, size_t size) {
    while (size > 0) {
        ssize_t part = send(fd, from, size, MSG_NOSIGNAL);
        if (part < 0 && errno != EINTR && errno != EAGAIN) return 0;
        if (part > 0) from += part, size -= (size_t)part;
    }
    return 1;
}

/* Bytes of the opening request, 0 while its end is missing, -1 where it is none. */
static ssize_t open_up(int fd, const unsigned char *from, size_t size) {
    char text[128], line[256], key[32];
    const unsigned char *end = memmem(from, size, "\r\n\r\n", 4);
    if (!end) return size < 8192 ? 0 : -1;
    const char *field = "sec-websocket-key:";
    const unsigned char *at = from;
    while (at < end && strncasecmp((const char *)at, field, strlen(field)) != 0) {
        const unsigned char *next = memchr(at, '\n', (size_t)(end + 4 - at));
        at = next ? next + 1 : end;
    }
    if (at >= end || sscanf((const char *)at + strlen(field), " %24[A-Za-z0-9+/=]", key) != 1) return -1;
    snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    accept_key(text, key);
    int count = snprintf(line, sizeof line,
                         "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         "Sec-WebSocket-Accept: %s\r\n\r\n", key);
    return send_all(fd, (unsigned char *)line, (size_t)count) ? end + 4 - from : -1;
}

/* Makes the answers to all whole frames; bytes taken, or -1 at the end. */
static ssize_t take(int fd, unsigned char *from, size_t size) {
    size_t taken = 0, made = 0;
    int closing = 0;
    while (!closing && size - taken >= 2) {
        unsigned char *head = from + taken;
        size_t length = head[1] & 127, need = 2;
        if (length >= 126) {
            size_t bytes = length == 126 ? 2 : 8;
            need += bytes;
            if (size - taken < need) break;
            length = 0;
            for (size_t index = 0; index < bytes; index++) length = length << 8 | head[2 + index];
        }
        need += 4;
        if (length > MAXIMUM_SIZE || !(head[1] & 0x80)) return -1;
        if (size - taken < need + length) break;
        unsigned char *out = answer + made, *payload = head + need, *mask = payload - 4;
        closing = (head[0] & 15) == 8;
        if (made + length + WHOLE_HEAD > sizeof answer) break;
        memcpy(out, head, need - 4);
        out[1] &= 127;
        if ((head[0] & 15) == 9) out[0] = 0x8A;
        out += need - 4;
        uint64_t key;
        memcpy(&key, mask, 4);
        memcpy((char *)&key + 4, mask, 4);
        size_t place = 0;
        for (; place + 8 <= length; place += 8) {
            uint64_t word;
            memcpy(&word, payload + place, 8);
            word ^= key;
            memcpy(out + place, &word, 8);
        }
        for (; place < length; place++) out[place] = payload[place] ^ mask[place & 3];
        made += need - 4 + length;
        taken += need + length;
    }
    if (casting) {
        for (int index = 0; index < peer_count && made; index++) send_all(peers[index], answer, made);
    } else if (made && !send_all(fd, answer, made)) {
        return -1;
    }
    return closing ? -1 : (ssize_t)taken;
}

static void let_go(int fd) {
    free(connections[fd].kept);
    connections[fd] = (struct connection){0};
    for (int index = 0; casting && index < peer_count; index++)
        if (peers[index] == fd) peers[index--] = peers[--peer_count];
    close(fd);
}

static void serve(int fd) {
    struct connection *connection = &connections[fd];
    size_t size = connection->size;
    if (size) memcpy(data, connection->kept, size);
    ssize_t count = recv(fd, data + size, sizeof data - size, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) {
        let_go(fd);
        return;
    }
    size += (size_t)count;
    ssize_t taken = 0;
    if (!connection->upgraded) {
        taken = open_up(fd, data, size);
        connection->upgraded = taken > 0;
        if (taken > 0 && casting) peers[peer_count++] = fd;
    }
    if (taken >= 0 && connection->upgraded) {
        ssize_t more = take(fd, data + taken, size - (size_t)taken);
        taken = more < 0 ? -1 : taken + more;
    }
    if (taken < 0) {
        let_go(fd);
        return;
    }
    size_t rest = size - (size_t)taken;
    if (rest != connection->size) connection->kept = realloc(connection->kept, rest ? rest : 1);
    if (rest) memcpy(connection->kept, data + taken, rest);
    connection->size = rest;
}

int main(int argument_count, char **arguments) {
    if (argument_count != 3) return 2;
    casting = arguments[1][0] == 'c';
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (listener < 0 || epoll < 0) fail("socket");
    if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 4096) < 0) fail("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &length) < 0) fail("getsockname");
    for (int index = 0; index < 2; index++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = index ? listener : STDIN_FILENO};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event) < 0) fail("epoll_ctl");
    }
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
                serve(fd);
                continue;
            }
            int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (connection < 0) continue;
            if (connection >= DESCRIPTORS) {
                close(connection);
                continue;
            }
            setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            struct epoll_event event = {.events = EPOLLIN, .data.fd = connection};
            if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection, &event) < 0) fail("epoll_ctl");
        }
    }
}
