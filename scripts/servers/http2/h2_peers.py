"""Python's h2, both ends, one connection: header tables that grow, padding-free frames in odd pieces, trailers, a reset by the
server, streams answered backwards."""

import socket
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events

PORT = 18084


def server(listener):
    sock, _ = listener.accept()
    conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    conn.initiate_connection()
    sock.sendall(conn.data_to_send())
    waiting = []
    while data := sock.recv(65536):
        for event in conn.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                waiting.append((event.stream_id, dict(event.headers)[":path"]))
            if isinstance(event, h2.events.StreamEnded) and len(waiting) == 5:
                for stream, path in reversed(waiting):
                    answer(conn, stream, path)
                waiting.clear()
        for at in range(0, len(out := conn.data_to_send()), 700):
            sock.sendall(out[at : at + 700])
    sock.close()


def answer(conn, stream, path):
    if path == "/refused":
        conn.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
        return
    status = "404" if path == "/missing" else "200"
    conn.send_headers(stream, [(":status", status), ("x-path", path), ("server", "python-h2")])
    conn.send_data(stream, b"x" * 900)
    conn.send_headers(stream, [("x-trailer", path)], end_stream=True)


def main():
    listener = socket.create_server(("127.0.0.1", PORT))
    threading.Thread(target=server, args=(listener,), daemon=True).start()
    sock = socket.create_connection(("127.0.0.1", PORT))
    conn = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    conn.initiate_connection()
    told, paths, ended = {}, {}, 0
    for turn in range(6):
        for path in ("/a", f"/turn/{turn}", "/missing", "/refused", "/a"):
            stream = conn.get_next_available_stream_id()
            paths[stream] = path
            headers = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "shop"), ("x-turn", str(turn))]
            conn.send_headers(stream, headers, end_stream=True)
        sock.sendall(conn.data_to_send())
        while ended < 5 * (turn + 1):
            for event in conn.receive_data(sock.recv(65536)):
                status = None
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[":status"]
                elif isinstance(event, h2.events.StreamReset):
                    status, ended = "-", ended + 1
                elif isinstance(event, h2.events.StreamEnded):
                    ended += 1
                if status:
                    line = f"http GET {paths[event.stream_id]} {status}"
                    told[line] = told.get(line, 0) + 1
            sock.sendall(conn.data_to_send())
    sock.close()
    for line, count in told.items():
        print(line, count)


main()
