"""The apps that empty the queues: broker -> worker -> handler -> sink, one verdict per message."""
