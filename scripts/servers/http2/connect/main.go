// Connect's own client and server, over HTTP/1.1 and HTTP/2: unary calls by POST and GET, streams each way, errors; and the
// same server asked in gRPC and gRPC-Web.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	get   = "/demo.Shop/Get"
	watch = "/demo.Shop/Watch"
	add   = "/demo.Shop/Add"
	chat  = "/demo.Shop/Chat"
)

type text = wrapperspb.StringValue

var told = map[string]int{}

// Each client checks what it got, so that what is told is what was said.
func tell(procedure string, err error, want connect.Code, asked, answered string) {
	status := "OK"
	if err != nil {
		if connect.CodeOf(err) != want {
			log.Fatalf("%s: %v", procedure, err)
		}
		status = map[connect.Code]string{connect.CodeNotFound: "NOT_FOUND", connect.CodeUnavailable: "UNAVAILABLE"}[want]
	} else if want != 0 {
		log.Fatalf("%s did not fail", procedure)
	}
	told[fmt.Sprintf("grpc %s %s %s %s", procedure[1:], status, asked, answered)]++
}

func handlers() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(get, connect.NewUnaryHandler(get, func(_ context.Context, request *connect.Request[text]) (*connect.Response[text], error) {
		if request.Msg.Value == "none" {
			return nil, connect.NewError(connect.CodeNotFound, errors.New("no such thing"))
		}
		return connect.NewResponse(wrapperspb.String("here")), nil
	}, connect.WithIdempotency(connect.IdempotencyNoSideEffects)))
	mux.Handle(watch, connect.NewServerStreamHandler(watch, func(_ context.Context, request *connect.Request[text], stream *connect.ServerStream[text]) error {
		for range 3 {
			if err := stream.Send(wrapperspb.String("more")); err != nil {
				return err
			}
		}
		if request.Msg.Value == "none" {
			return connect.NewError(connect.CodeUnavailable, errors.New("try again"))
		}
		return nil
	}))
	mux.Handle(add, connect.NewClientStreamHandler(add, func(_ context.Context, stream *connect.ClientStream[text]) (*connect.Response[text], error) {
		for stream.Receive() {
		}
		return connect.NewResponse(wrapperspb.String("all")), stream.Err()
	}))
	mux.Handle(chat, connect.NewBidiStreamHandler(chat, func(_ context.Context, stream *connect.BidiStream[text, text]) error {
		for {
			message, err := stream.Receive()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := stream.Send(message); err != nil {
				return err
			}
		}
	}))
	return mux
}

// Unary calls: one that is answered, one that fails.
func unary(client *http.Client, base string, messages string, options ...connect.ClientOption) {
	caller := connect.NewClient[text, text](client, base+get, options...)
	_, err := caller.CallUnary(context.Background(), connect.NewRequest(wrapperspb.String("any")))
	tell(get, err, 0, messages, messages)
	_, err = caller.CallUnary(context.Background(), connect.NewRequest(wrapperspb.String("none")))
	answered := map[string]string{"-": "-", "1": "0"}[messages]
	tell(get, err, connect.CodeNotFound, messages, answered)
}

func streams(client *http.Client, base string, options ...connect.ClientOption) {
	for value, code := range map[string]connect.Code{"any": 0, "none": connect.CodeUnavailable} {
		caller := connect.NewClient[text, text](client, base+watch, options...)
		stream, err := caller.CallServerStream(context.Background(), connect.NewRequest(wrapperspb.String(value)))
		if err != nil {
			log.Fatal(err)
		}
		for stream.Receive() {
		}
		tell(watch, stream.Err(), code, "1", "3")
		stream.Close()
	}
	caller := connect.NewClient[text, text](client, base+add, options...).CallClientStream(context.Background())
	for range 3 {
		if err := caller.Send(wrapperspb.String("one")); err != nil {
			log.Fatal(err)
		}
	}
	_, err := caller.CloseAndReceive()
	tell(add, err, 0, "3", "1")
}

func talk(client *http.Client, base string, options ...connect.ClientOption) {
	stream := connect.NewClient[text, text](client, base+chat, options...).CallBidiStream(context.Background())
	for range 4 {
		if err := stream.Send(wrapperspb.String("hello")); err != nil {
			log.Fatal(err)
		}
		if _, err := stream.Receive(); err != nil {
			log.Fatal(err)
		}
	}
	stream.CloseRequest()
	_, err := stream.Receive()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	tell(chat, err, 0, "4", "4")
	stream.CloseResponse()
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:18087")
	if err != nil {
		log.Fatal(err)
	}
	both := new(http.Protocols)
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: handlers(), Protocols: both}
	go server.Serve(listener)
	base := "http://127.0.0.1:18087"
	for version := 1; version <= 2; version++ {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(version == 1)
		protocols.SetUnencryptedHTTP2(version == 2)
		client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
		for _, options := range [][]connect.ClientOption{nil, {connect.WithProtoJSON()}} {
			unary(client, base, "-", options...)
			unary(client, base, "-", append(options, connect.WithHTTPGet(), connect.WithIdempotency(connect.IdempotencyNoSideEffects))...)
			streams(client, base, options...)
		}
		unary(client, base, "1", connect.WithGRPCWeb())
		streams(client, base, connect.WithGRPCWeb())
		if version == 2 {
			unary(client, base, "1", connect.WithGRPC())
			streams(client, base, connect.WithGRPC())
			talk(client, base)
			talk(client, base, connect.WithGRPC())
		}
		client.CloseIdleConnections()
	}
	server.Shutdown(context.Background())
	for line, count := range told {
		fmt.Println(line, count)
	}
}
