/* What load.c does on a connection that speaks WebSocket. The request is a file: the opening request to its empty line,
 * then one masked frame, which is sent for each message. An answer is one message of any size, in any number of frames.
 * Pings are answered, so that no server takes us for dead.
 */
static void read_frames(const char *name) {
    FILE *file = fopen(name, "rb");
    long size = -1;
    if (!file || fseek(file, 0, SEEK_END) < 0 || (size = ftell(file)) <= 0 || fseek(file, 0, SEEK_SET) < 0) fail(name);
    upgrade = malloc((size_t)size);
    if (!upgrade || fread(upgrade, 1, (size_t)size, file) != (size_t)size) fail(name);
    fclose(file);
    char *end = memmem(upgrade, (size_t)size, "\r\n\r\n", 4);
    if (!end) fail("the opening request");
    frame = end + 4;
    upgrade_size = (size_t)(frame - upgrade);
    request_size = (size_t)size - upgrade_size;
}

/* 1 when the server has agreed. Its answer is read byte by byte, as a frame may follow. */
static int upgrade_step(struct connection *connection) {
    if (!connection->upgrade_sent) {
        if (transmit(connection, upgrade, upgrade_size) != (ssize_t)upgrade_size) fail("the opening request");
        connection->upgrade_sent = 1;
        connection->received = connection->head_size = 0;
    }
    for (;;) {
        char byte;
        ssize_t count = collect(connection, &byte, 1);
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
        if (count <= 0) fail("the server refused the opening request");
        if (connection->received == 9 && byte != '1') {
            fprintf(stderr, "load: the server did not answer with 101\n");
            exit(1);
        }
        connection->received++;
        connection->head_size = byte == (connection->head_size % 2 ? '\n' : '\r') ? connection->head_size + 1 : 0;
        if (connection->head_size == 4) break;
    }
    connection->head_size = connection->control_size = 0;
    connection->rest = 0;
    connection->received = 0;
    connection->upgraded = 1;
    return 1;
}

/* Takes its leave without waiting for the answer: no server has to tell of a broken connection. */
static void say_goodbye(struct connection *connection) {
    static const char close_frame[6] = {(char)0x88, (char)0x80};
    if (connection->upgraded) transmit(connection, close_frame, sizeof close_frame);
}

/* A pong, with a mask that changes nothing. */
static void answer_ping(struct connection *connection) {
    char pong[6 + CONTROL_SIZE] = {(char)0x8A, (char)(0x80 | connection->control_size)};
    memcpy(pong + 6, connection->control, connection->control_size);
    transmit(connection, pong, 6 + connection->control_size); /* what does not fit now is not needed either */
}

/* 1 when a message is complete. A server never masks, and says nothing that it was not asked for. */
static int hear_frames(struct connection *connection, const unsigned char *data, size_t count) {
    int complete = 0;
    while (count > 0) {
        unsigned char *head = connection->head;
        unsigned opcode = head[0] & 15u;
        if (connection->rest == 0) {
            head[connection->head_size++] = *data++;
            count--;
            if (connection->head_size < 2) continue;
            if (head[1] & 0x80) fail("a masked frame");
            unsigned length = head[1], bytes = length == 126 ? 2 : length == 127 ? 8 : 0;
            if (connection->head_size < 2 + bytes) continue;
            size_t size = bytes ? 0 : length;
            for (unsigned index = 0; index < bytes; index++) size = size << 8 | head[2 + index];
            opcode = head[0] & 15u;
            if (opcode == 8) {
                fprintf(stderr, "load: the server closed a WebSocket\n");
                exit(1);
            }
            connection->rest = size;
        } else {
            size_t part = connection->rest < count ? connection->rest : count;
            if (opcode > 8) {
                if (connection->control_size + part > CONTROL_SIZE) fail("a control frame");
                memcpy(connection->control + connection->control_size, data, part);
                connection->control_size += (unsigned)part;
            }
            connection->rest -= part;
            data += part;
            count -= part;
        }
        if (connection->rest > 0) continue;
        if (opcode == 9) answer_ping(connection);
        if (opcode < 8 && head[0] & 0x80) {
            if (complete) fail("more than one answer");
            complete = 1;
        }
        connection->head_size = connection->control_size = 0;
    }
    return complete;
}
