"""Clients in a pool of threads, each with a connection of its own, against one server.

Shows: plain, blocking code in threads. All sockets of the process share one background loop, so a thousand connections
need no thousand threads; the threads are there for the program's own work.

Run:    python examples/thread_pool.py
Prints: how many answers came back right
"""

from concurrent.futures import ThreadPoolExecutor

from moorings import DataReader, DataWriter, HostName, StreamSocket, StreamSocketListener

LOCALHOST = HostName("127.0.0.1")
CLIENTS = 100
THREADS = 8


def answer(_listener: StreamSocketListener, args) -> None:
    """One question, one answer: the number, doubled."""
    connection = args.socket
    with connection, DataReader(connection.input_stream) as reader, DataWriter(connection.output_stream) as writer:
        if reader.load_async(4).get() == 4:
            writer.write_uint32(2 * reader.read_uint32())
            writer.store_async().get()


def ask(port: str, number: int) -> int:
    with StreamSocket() as client:
        client.connect_async(LOCALHOST, port).get()
        with DataWriter(client.output_stream) as writer, DataReader(client.input_stream) as reader:
            writer.write_uint32(number)
            writer.store_async().get()
            reader.load_async(4).get()
            return reader.read_uint32()


def main() -> None:
    with StreamSocketListener() as listener:
        listener.add_connection_received(answer)
        listener.bind_endpoint_async(LOCALHOST, "").get()
        port = listener.information.local_port
        with ThreadPoolExecutor(THREADS) as pool:
            answers = list(pool.map(lambda number: ask(port, number), range(CLIENTS)))
    right = sum(reply == 2 * number for number, reply in enumerate(answers))
    print(f"{right} of {CLIENTS} answers are right")


if __name__ == "__main__":
    main()
