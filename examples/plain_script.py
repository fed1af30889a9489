"""Client and server without asyncio: `.get()` waits for an operation.

Shows: WinRT's names in a plain script. The library runs one event loop in a thread of its own; handlers run on worker
threads and may block.

Run:    python examples/plain_script.py
Prints: the echo, and its round trip time
"""

from moorings import DataReader, DataWriter, HostName, InputStreamOptions, StreamSocket, StreamSocketListener

LOCALHOST = HostName("127.0.0.1")


def echo(_listener: StreamSocketListener, args) -> None:
    """Runs on a worker thread, once for each client."""
    with args.socket as connection, DataReader(connection.input_stream) as reader:
        reader.input_stream_options = InputStreamOptions.PARTIAL
        while size := reader.load_async(4096).get():
            connection.output_stream.write_async(reader.read_buffer(size)).get()


def main() -> None:
    with StreamSocketListener() as listener:
        listener.add_connection_received(echo)
        listener.bind_endpoint_async(LOCALHOST, "").get()
        with StreamSocket() as client:
            client.connect_async(LOCALHOST, listener.information.local_port).get()
            with DataWriter(client.output_stream) as writer, DataReader(client.input_stream) as reader:
                writer.write_string("hello")
                writer.store_async().get()
                reader.load_async(5).get()
                print(reader.read_string(5))
                times = client.information.round_trip_time_statistics
                print("round trip time measured:", times.sum > 0)


if __name__ == "__main__":
    main()
