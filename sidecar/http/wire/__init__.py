"""HTTP/1.1 on sockets: framing, flow control and deadlines, and nothing of what a message means."""
