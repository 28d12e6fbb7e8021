// A lumberjack v2 server for tests: Elastic's own go-lumber library behind a few flags.
//
// Writes one line of JSON for each event, numbers as they came, and acknowledges a batch only behind its last line.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"github.com/elastic/go-lumber/server"
)

func decode(data []byte, into interface{}) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	return decoder.Decode(into)
}

func main() {
	bind := flag.String("bind", "127.0.0.1:0", "where to listen")
	out := flag.String("out", "", "file that lines are appended to")
	cert := flag.String("cert", "", "certificate, for TLS")
	key := flag.String("key", "", "its key")
	clientCA := flag.String("clientca", "", "who must have signed the client's certificate")
	hold := flag.Duration("hold", 0, "how long to wait before a batch is acknowledged")
	keepalive := flag.Duration("keepalive", 3*time.Second, "how often to say that a batch is at work")
	flag.Parse()

	file, err := os.OpenFile(*out, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *bind)
	if err != nil {
		log.Fatal(err)
	}
	address := listener.Addr()
	options := []server.Option{server.V2(true), server.JSONDecoder(decode), server.Keepalive(*keepalive)}
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			log.Fatal(err)
		}
		config := &tls.Config{Certificates: []tls.Certificate{pair}}
		if *clientCA != "" {
			authority, err := os.ReadFile(*clientCA)
			if err != nil {
				log.Fatal(err)
			}
			config.ClientCAs = x509.NewCertPool()
			config.ClientCAs.AppendCertsFromPEM(authority)
			config.ClientAuth = tls.RequireAndVerifyClientCert
		}
		listener = tls.NewListener(listener, config)
	}
	lumber, err := server.NewWithListener(listener, options...)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening", address.(*net.TCPAddr).Port)
	for batch := range lumber.ReceiveChan() {
		var lines bytes.Buffer
		encoder := json.NewEncoder(&lines)
		encoder.SetEscapeHTML(false)
		for _, event := range batch.Events {
			if err := encoder.Encode(event); err != nil {
				log.Fatal(err)
			}
		}
		if _, err := file.Write(lines.Bytes()); err != nil {
			log.Fatal(err)
		}
		time.Sleep(*hold)
		batch.ACK()
	}
}
