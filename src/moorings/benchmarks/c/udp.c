/* What datagrams cost in C: one process sends batches over loopback, receives them, or both.
 *
 *     udp WAY PART SIZE PEERS MILLISECONDS [DESCRIPTOR]
 *
 * WAY is `plain` (one send and one recv each), `mmsg` (sendmmsg and recvmmsg), or `gso` (segmented sends, UDP_SEGMENT, of
 * up to 64 datagrams, and coalesced receives, UDP_GRO). PART is as in udp_contestants.py: `both`, `send` to peers that are
 * not read, `receive` or `echo` with the driver at the other end of DESCRIPTOR. Prints one line: datagrams, received,
 * processor time and wall clock in nanoseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define BATCH 500
#define DRIVEN_BATCH 150
#define OVERHEAD 1200
#define SEGMENTS 64
#define SEGMENTED_BYTES 65000
#define SLOTS 16
#define SLAB 65536
#define MAXIMUM_PEERS 1000
#define BUFFER (4 << 20)

typedef unsigned long long nanoseconds;

static char data[SLAB], memory[SLOTS][SLAB];
static struct sockaddr_in peers[MAXIMUM_PEERS];
static int sockets[MAXIMUM_PEERS], count, sender;
static size_t size;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static nanoseconds clock_of(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (nanoseconds)now.tv_sec * 1000000000ull + (nanoseconds)now.tv_nsec;
}

static int open_socket(struct sockaddr_in *address) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), wanted = BUFFER;
    socklen_t length = sizeof *address;
    if (fd < 0) fail("socket");
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)address, length) < 0) fail("bind");
    if (getsockname(fd, (struct sockaddr *)address, &length) < 0) fail("getsockname");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &wanted, sizeof wanted);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &wanted, sizeof wanted);
    return fd;
}

static void send_plain(int from, int number) {
    for (int index = 0; index < number; index++)
        while (sendto(sender, data, size, 0, (struct sockaddr *)&peers[(from + index) % count], sizeof peers[0]) < 0)
            if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS) fail("sendto");
}

static void send_many(int from, int number) {
    static struct mmsghdr messages[BATCH];
    struct iovec piece = {data, size};
    for (int index = 0; index < number; index++)
        messages[index].msg_hdr = (struct msghdr){.msg_name = &peers[(from + index) % count],
                                                  .msg_namelen = sizeof peers[0],
                                                  .msg_iov = &piece,
                                                  .msg_iovlen = 1};
    for (int done = 0; done < number;) {
        int part = sendmmsg(sender, messages + done, (unsigned)(number - done), 0);
        if (part > 0) done += part;
        else if (errno != EAGAIN && errno != EINTR) fail("sendmmsg");
    }
}

static void send_segmented(int from, int number) {
    size_t most = SEGMENTED_BYTES / size < SEGMENTS ? SEGMENTED_BYTES / size : SEGMENTS;
    char control[CMSG_SPACE(sizeof(unsigned short))] = {0};
    while (number > 0) {
        size_t segments = (size_t)number < most ? (size_t)number : most;
        struct iovec piece = {data, size * segments};
        struct msghdr message = {.msg_name = &peers[from % count],
                                 .msg_namelen = sizeof peers[0],
                                 .msg_iov = &piece,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof control};
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = IPPROTO_UDP;
        header->cmsg_type = UDP_SEGMENT;
        header->cmsg_len = CMSG_LEN(sizeof(unsigned short));
        *(unsigned short *)CMSG_DATA(header) = (unsigned short)size;
        if (sendmsg(sender, &message, 0) < 0) {
            if (errno != EAGAIN && errno != EINTR) fail("sendmsg");
            continue;
        }
        number -= (int)segments;
    }
}

static unsigned long receive_plain(void) {
    ssize_t got = recv(sockets[0], memory[0], SLAB, 0);
    return got >= 0;
}

static unsigned long receive_many(int coalesced) {
    static struct mmsghdr messages[SLOTS];
    static struct iovec pieces[SLOTS];
    static char controls[SLOTS][64];
    unsigned long datagrams = 0;
    for (int index = 0; index < SLOTS; index++) {
        pieces[index] = (struct iovec){memory[index], SLAB};
        messages[index].msg_hdr = (struct msghdr){
            .msg_iov = &pieces[index], .msg_iovlen = 1, .msg_control = controls[index], .msg_controllen = 64};
    }
    int got = recvmmsg(sockets[0], messages, SLOTS, 0, NULL);
    for (int index = 0; index < got; index++) {
        size_t segment = messages[index].msg_len;
        if (coalesced)
            for (struct cmsghdr *header = CMSG_FIRSTHDR(&messages[index].msg_hdr); header;
                 header = CMSG_NXTHDR(&messages[index].msg_hdr, header))
                if (header->cmsg_level == IPPROTO_UDP && header->cmsg_type == UDP_GRO)
                    segment = (size_t)*(int *)CMSG_DATA(header);
        datagrams += segment ? (messages[index].msg_len + segment - 1) / segment : 1;
    }
    return datagrams;
}

static int echo_plain(int fd) {
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    ssize_t got = recvfrom(fd, memory[0], SLAB, 0, (struct sockaddr *)&peer, &length);
    if (got < 0) return 0;
    if (sendto(fd, memory[0], (size_t)got, 0, (struct sockaddr *)&peer, length) < 0) fail("sendto");
    return 1;
}

static int echo_many(int fd, int echo) {
    static struct mmsghdr messages[SLOTS];
    static struct iovec pieces[SLOTS];
    static struct sockaddr_in names[SLOTS];
    for (int index = 0; index < SLOTS; index++) {
        pieces[index] = (struct iovec){memory[index], SLAB};
        messages[index].msg_hdr = (struct msghdr){
            .msg_name = &names[index], .msg_namelen = sizeof names[0], .msg_iov = &pieces[index], .msg_iovlen = 1};
    }
    int got = recvmmsg(fd, messages, SLOTS, 0, NULL);
    for (int index = 0; index < got; index++) pieces[index].iov_len = messages[index].msg_len;
    for (int done = 0; echo && done < got;) {
        int part = sendmmsg(fd, messages + done, (unsigned)(got - done), 0);
        if (part < 0) fail("sendmmsg");
        done += part;
    }
    return got < 0 ? 0 : got;
}

/* Receives, or echoes, what the driver sends each time it is asked. */
static int driven(char way, int echo, int driver, nanoseconds length) {
    struct sockaddr_in own;
    int fd = open_socket(&own);
    unsigned int batch = htonl(DRIVEN_BATCH);
    char greeting[6], answer;
    memcpy(greeting, &own.sin_port, 2);
    memcpy(greeting + 2, &batch, 4);
    if (write(driver, greeting, sizeof greeting) != sizeof greeting) fail("driver");
    unsigned long received = 0;
    nanoseconds used = 0, wall = 0, start = clock_of(CLOCK_MONOTONIC);
    while (clock_of(CLOCK_MONOTONIC) - start < length) {
        if (write(driver, "g", 1) != 1 || read(driver, &answer, 1) != 1) fail("driver");
        nanoseconds used_before = clock_of(CLOCK_PROCESS_CPUTIME_ID), before = clock_of(CLOCK_MONOTONIC);
        for (int left = DRIVEN_BATCH, got; left > 0; left -= got) {
            if (way == 'm') got = echo_many(fd, echo);
            else if (echo) got = echo_plain(fd);
            else got = recv(fd, memory[0], SLAB, 0) >= 0;
            if (!got) fail("a datagram is missing");
        }
        used += clock_of(CLOCK_PROCESS_CPUTIME_ID) - used_before;
        wall += clock_of(CLOCK_MONOTONIC) - before;
        received += DRIVEN_BATCH;
    }
    printf("%lu %lu %llu %llu\n", received, received, used, wall);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 6) return 2;
    char way = argv[1][0], *part = argv[2];
    size = (size_t)atoi(argv[3]);
    count = atoi(argv[4]);
    nanoseconds length = (nanoseconds)atoi(argv[5]) * 1000000ull;
    if (!strchr("pmg", way) || size < 1 || size > 65000 || count < 1 || count > MAXIMUM_PEERS) return 2;
    if (argc > 6) return driven(way, !strcmp(part, "echo"), atoi(argv[6]), length);
    memset(data, 'm', sizeof data);
    struct sockaddr_in own;
    sender = open_socket(&own);
    for (int index = 0; index < count; index++) sockets[index] = open_socket(&peers[index]);
    int on = 1;
    if (way == 'g' && setsockopt(sockets[0], IPPROTO_UDP, UDP_GRO, &on, sizeof on) < 0) fail("UDP_GRO");
    unsigned long sent = 0, received = 0;
    int batch = BATCH, room = 0;
    socklen_t room_length = sizeof room;
    getsockopt(sockets[0], SOL_SOCKET, SO_RCVBUF, &room, &room_length);
    int least = 1;
    for (int index = 0; index < count && !strcmp(part, "send"); index++) /* as unread_peers in udp_contestants.py */
        setsockopt(sockets[index], SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
    if (!strcmp(part, "both") && room / ((int)size + OVERHEAD) < BATCH) batch = room / ((int)size + OVERHEAD);
    nanoseconds start = clock_of(CLOCK_MONOTONIC), used = clock_of(CLOCK_PROCESS_CPUTIME_ID), now;
    do {
        if (way == 'p') send_plain((int)(sent % (unsigned long)count), batch);
        else if (way == 'm') send_many((int)(sent % (unsigned long)count), batch);
        else send_segmented((int)(sent % (unsigned long)count), batch);
        sent += (unsigned long)batch;
        if (!strcmp(part, "both"))
            for (unsigned long got; received < sent; received += got)
                if (!(got = way == 'p' ? receive_plain() : receive_many(way == 'g'))) fail("a datagram is missing");
        now = clock_of(CLOCK_MONOTONIC);
    } while (now - start < length);
    printf("%lu %lu %llu %llu\n", sent, received, clock_of(CLOCK_PROCESS_CPUTIME_ID) - used, now - start);
    return 0;
}
