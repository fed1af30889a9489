"""Streams: Buffer, DataReader, DataWriter, the stream interfaces, streams in memory (Windows.Storage.Streams)."""
