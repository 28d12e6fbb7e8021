"""A stand-in for a mesh's proxy: PORT=TO[@SOURCE]…, TO being an address and port, or `original`: where the connection was
going before it was redirected. Every byte changes on its way through, so that what is HTTP on one side is none on the other,
as TLS has it."""

import socket
import struct
import sys
import threading

SEAL = bytes(byte ^ 0x80 for byte in range(256))
SO_ORIGINAL_DST = 80


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data.translate(SEAL))
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def destination(to, client):
    if to != "original":
        host, port = to.split(":")
        return host, int(port)
    raw = client.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    return socket.inet_ntoa(raw[4:8]), struct.unpack(">H", raw[2:4])[0]


def serve(port, to, own):
    listener = socket.create_server(("0.0.0.0", int(port)))
    while True:
        client, _ = listener.accept()
        try:
            server = socket.create_connection(destination(to, client), source_address=(own, 0) if own else None)
        except OSError:
            client.close()
            continue
        for ends in [(client, server), (server, client)]:
            threading.Thread(target=pump, args=ends, daemon=True).start()


if __name__ == "__main__":
    threads = []
    for word in sys.argv[1:]:
        port, _, rest = word.partition("=")
        to, _, own = rest.partition("@")
        threads.append(threading.Thread(target=serve, args=(port, to, own)))
        threads[-1].start()
