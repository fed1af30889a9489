/* Stands between a test process and its C library: chosen system calls fail or are short, and all are counted.
 *
 * Loaded with LD_PRELOAD. The rules live in a file, named by MOORINGS_FAULTS, that this library and the test
 * (tests/faults/shim.py) map into memory: an array of `rule`, one per call, in the order of `enum call`. A rule counts
 * the calls on its descriptor (any, if negative), lets `skip` of them pass and strikes `times` times after that.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

enum call { RECV, SEND, SENDMSG, SHUTDOWN, ACCEPT, EPOLL_CTL, EPOLL_WAIT, SENDMMSG, RECVMMSG, RECVMSG, SENDTO, CALLS };

struct rule {
    int32_t fd;    /* which descriptor; negative: any */
    int32_t skip;  /* calls that still pass */
    int32_t times; /* calls that are struck after those; negative: all */
    int32_t code;  /* errno of a failure; 0: the call is short instead */
    int64_t limit; /* bytes, or messages, that a short call may move */
    int64_t count; /* calls so far */
};

static struct rule *rules;

__attribute__((constructor)) static void open_rules(void)
{
    const char *path = getenv("MOORINGS_FAULTS");
    if (path == NULL)
        return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *memory = mmap(NULL, CALLS * sizeof(struct rule), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory != MAP_FAILED)
        rules = memory;
}

/* 0: go on; otherwise the call fails with errno set. `*length` may become smaller. */
static int strike(enum call call, int fd, size_t *length)
{
    if (rules == NULL)
        return 0;
    struct rule *rule = &rules[call];
    if (rule->fd >= 0 && rule->fd != fd)
        return 0;
    rule->count++;
    if (rule->times == 0)
        return 0;
    if (rule->skip > 0) {
        rule->skip--;
        return 0;
    }
    if (rule->times > 0)
        rule->times--;
    if (rule->code != 0) {
        errno = rule->code;
        return -1;
    }
    if (length != NULL && *length > (size_t)rule->limit)
        *length = (size_t)rule->limit;
    return 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t recv(int fd, void *data, size_t length, int flags)
{
    static __typeof__(&recv) real;
    if (real == NULL)
        real = REAL(recv);
    return strike(RECV, fd, &length) < 0 ? -1 : real(fd, data, length, flags);
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
    static __typeof__(&send) real;
    if (real == NULL)
        real = REAL(send);
    return strike(SEND, fd, &length) < 0 ? -1 : real(fd, data, length, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    static __typeof__(&sendmsg) real;
    if (real == NULL)
        real = REAL(sendmsg);
    size_t length = (size_t)-1;
    if (strike(SENDMSG, fd, &length) < 0)
        return -1;
    if (length == (size_t)-1 || message->msg_iovlen == 0)
        return real(fd, message, flags);
    /* Short: only the first piece, and no more of it than allowed. */
    struct iovec piece = message->msg_iov[0];
    if (piece.iov_len > length)
        piece.iov_len = length;
    struct msghdr shortened = *message;
    shortened.msg_iov = &piece;
    shortened.msg_iovlen = 1;
    return real(fd, &shortened, flags);
}

int shutdown(int fd, int how)
{
    static __typeof__(&shutdown) real;
    if (real == NULL)
        real = REAL(shutdown);
    return strike(SHUTDOWN, fd, NULL) < 0 ? -1 : real(fd, how);
}

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    static __typeof__(&accept4) real;
    if (real == NULL)
        real = REAL(accept4);
    return strike(ACCEPT, fd, NULL) < 0 ? -1 : real(fd, address, length, flags);
}

int epoll_ctl(int set, int verb, int fd, struct epoll_event *event)
{
    static __typeof__(&epoll_ctl) real;
    if (real == NULL)
        real = REAL(epoll_ctl);
    return strike(EPOLL_CTL, set, NULL) < 0 ? -1 : real(set, verb, fd, event);
}

int epoll_wait(int set, struct epoll_event *events, int maximum, int timeout)
{
    static __typeof__(&epoll_wait) real;
    if (real == NULL)
        real = REAL(epoll_wait);
    return strike(EPOLL_WAIT, set, NULL) < 0 ? -1 : real(set, events, maximum, timeout);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
    static __typeof__(&sendmmsg) real;
    if (real == NULL)
        real = REAL(sendmmsg);
    size_t length = count;
    return strike(SENDMMSG, fd, &length) < 0 ? -1 : real(fd, messages, (unsigned int)length, flags);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout)
{
    static __typeof__(&recvmmsg) real;
    if (real == NULL)
        real = REAL(recvmmsg);
    size_t length = count;
    return strike(RECVMMSG, fd, &length) < 0 ? -1 : real(fd, messages, (unsigned int)length, flags, timeout);
}

ssize_t sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *to, socklen_t to_length)
{
    static __typeof__(&sendto) real;
    if (real == NULL)
        real = REAL(sendto);
    return strike(SENDTO, fd, &length) < 0 ? -1 : real(fd, data, length, flags, to, to_length);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    static __typeof__(&recvmsg) real;
    if (real == NULL)
        real = REAL(recvmsg);
    /* Looks at the error queue are not counted: they follow upon a failure. */
    return !(flags & MSG_ERRQUEUE) && strike(RECVMSG, fd, NULL) < 0 ? -1 : real(fd, message, flags);
}
