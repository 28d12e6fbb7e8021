"""grpcio, both ends: the four kinds of calls, errors with messages, a deadline, a cancellation, a method that is not there."""

import collections
import concurrent.futures
import threading

import grpc

ADDRESS = "127.0.0.1:18085"
SERVICE = "shop.Cart"


class Service(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            f"/{SERVICE}/One": grpc.unary_unary_rpc_method_handler(self.one),
            f"/{SERVICE}/Many": grpc.unary_stream_rpc_method_handler(self.many),
            f"/{SERVICE}/Sum": grpc.stream_unary_rpc_method_handler(lambda messages, _: str(len(list(messages))).encode()),
            f"/{SERVICE}/Echo": grpc.stream_stream_rpc_method_handler(lambda messages, _: messages),
            f"/{SERVICE}/Hang": grpc.unary_unary_rpc_method_handler(self.hang),
        }.get(details.method)

    gone = threading.Event()

    def one(self, message, context):
        if message == b"fail":
            context.abort(grpc.StatusCode.NOT_FOUND, "no cart: café\n")
        return message

    def many(self, message, context):
        yield from (message for _ in range(int(message)))

    def hang(self, message, context):
        self.gone.wait(5)
        return message


def main():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), handlers=[Service()])
    server.add_insecure_port(ADDRESS)
    server.start()
    told = collections.Counter()
    with grpc.insecure_channel(ADDRESS) as channel:
        one, hang = channel.unary_unary(f"/{SERVICE}/One"), channel.unary_unary(f"/{SERVICE}/Hang")
        for _ in range(10):
            one(b"a cart")
            told["One OK 1 1"] += 1
        assert len(list(channel.unary_stream(f"/{SERVICE}/Many")(b"7"))) == 7
        told["Many OK 1 7"] += 1
        channel.stream_unary(f"/{SERVICE}/Sum")(iter([b"x" * 20_000] * 5))
        told["Sum OK 5 1"] += 1
        assert len(list(channel.stream_stream(f"/{SERVICE}/Echo")(iter([b"1", b"2", b"3"])))) == 3
        told["Echo OK 3 3"] += 1
        for call, message, line in ((one, b"fail", "One NOT_FOUND 1 0"), (channel.unary_unary(f"/{SERVICE}/None"), b"", "None UNIMPLEMENTED - 0")):
            try:
                call(message)
            except grpc.RpcError:
                told[line] += 1
        try:
            hang(b"late", timeout=0.2)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            told["Hang deadline - 0"] += 1
    Service.gone.set()
    server.stop(None).wait()
    for line, count in told.items():
        print("grpc", f"{SERVICE}/{line}", count)


main()
