// Go's own HTTP/2 with prior knowledge, both ends: thirty requests at once, bodies, an error, one that its client gives up.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

func main() {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	mux := http.NewServeMux()
	mux.HandleFunc("/many", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "many") })
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintln(w, n)
	})
	mux.HandleFunc("/hang", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	listener, err := net.Listen("tcp", "127.0.0.1:18083")
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: mux, Protocols: protocols}
	go server.Serve(listener)

	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	var lock sync.Mutex
	told := map[string]int{}
	ask := func(ctx context.Context, method, path, body string) {
		request, _ := http.NewRequestWithContext(ctx, method, "http://127.0.0.1:18083"+path, strings.NewReader(body))
		status := "-"
		if response, err := client.Do(request); err == nil {
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
			status = fmt.Sprint(response.StatusCode)
		}
		lock.Lock()
		told["http "+method+" "+path+" "+status]++
		lock.Unlock()
	}
	all := context.Background()
	// The first one opens the connection for all.
	ask(all, "GET", "/many", "")
	var wait sync.WaitGroup
	for range 30 {
		wait.Add(1)
		go func() { defer wait.Done(); ask(all, "GET", "/many", "") }()
	}
	wait.Wait()
	ask(all, "PUT", "/upload", strings.Repeat("x", 100_000))
	ask(all, "GET", "/missing", "")
	short, cancel := context.WithTimeout(all, 50*time.Millisecond)
	ask(short, "GET", "/hang", "")
	cancel()
	client.CloseIdleConnections()
	server.Close()
	for line, count := range told {
		fmt.Println(line, count)
	}
}
