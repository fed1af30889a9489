/* What load.c does on a connection, over TLS 1.3 with P-256 and AES-128-GCM: the client offers nothing else, and so all
 * servers do the same work. In mode `resumed` each connection after the first is resumed with that one's ticket, and it is
 * a mistake if the server does not take it. The server's certificate is not checked: that costs the server nothing.
 */
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>

static SSL_CTX *context;
static SSL_SESSION *kept;
static int resuming;

static void fail_tls(const char *what) {
    fprintf(stderr, "load: %s failed: ", what);
    ERR_print_errors_fp(stderr);
    fprintf(stderr, "\n");
    exit(1);
}

static int set_up_tls(const char *mode) {
    resuming = strcmp(mode, "resumed") == 0;
    if (!resuming && strcmp(mode, "full") != 0) return 0;
    signal(SIGPIPE, SIG_IGN); /* SSL_write has no MSG_NOSIGNAL */
    context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") || !SSL_CTX_set1_groups_list(context, "P-256"))
        fail_tls("setting TLS up");
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, 65536);
    /* The cache would not let a ticket be used twice. */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return 1;
}

static void begin(struct connection *connection) {
    SSL *tls = SSL_new(context);
    if (!tls || fcntl(connection->fd, F_SETFL, O_NONBLOCK) < 0 || !SSL_set_fd(tls, connection->fd) ||
        !SSL_set_tlsext_host_name(tls, "localhost") || (kept && !SSL_set_session(tls, kept)))
        fail_tls("SSL_new");
    SSL_set_connect_state(tls);
    connection->tls = tls;
    connection->offered = kept != NULL;
    connection->greeted = 0;
}

/* How a call ended that did not go on: EAGAIN where it waits for the network, an end of the connection. */
static ssize_t waits(SSL *tls, int result, const char *what) {
    int error = SSL_get_error(tls, result);
    if (error == SSL_ERROR_ZERO_RETURN) return 0;
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) fail_tls(what);
    errno = EAGAIN;
    return -1;
}

/* 1 when the handshake is done. */
static int greet(struct connection *connection) {
    int result = SSL_do_handshake(connection->tls);
    if (result != 1) {
        if (waits(connection->tls, result, "the handshake") == 0) fail_tls("the handshake");
        return 0;
    }
    if (connection->offered && !SSL_session_reused(connection->tls)) {
        fprintf(stderr, "load: the server does not resume\n");
        exit(1);
    }
    connection->greeted = 1;
    return 1;
}

static ssize_t transmit(struct connection *connection, const char *data, size_t size) {
    int result = SSL_write(connection->tls, data, (int)size);
    return result > 0 ? result : waits(connection->tls, result, "SSL_write");
}

static ssize_t collect(struct connection *connection, char *data, size_t size) {
    int result = SSL_read(connection->tls, data, (int)size);
    return result > 0 ? result : waits(connection->tls, result, "SSL_read");
}

static void finish(struct connection *connection) {
    if (resuming && !kept) kept = SSL_get1_session(connection->tls); /* tickets come before the answer */
    ERR_clear_error();
    SSL_shutdown(connection->tls);
    SSL_free(connection->tls);
    close(connection->fd);
}
