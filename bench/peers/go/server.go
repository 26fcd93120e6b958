// SPDX-License-Identifier: MIT

package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
)

const bufferBytes = 8192

// What the listener accepts is echoed, a goroutine a connection. Not io.Copy: between two sockets it
// splices through a pipe, which costs small messages more.
func serveEcho(listener net.Listener) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			buffer := make([]byte, bufferBytes)
			for {
				n, err := connection.Read(buffer)
				if err != nil {
					return
				}
				if _, err := connection.Write(buffer[:n]); err != nil {
					return
				}
			}
		}()
	}
}

// By net/http, with all that it does for its users; the answer is as long as the other servers'.
func serveHTTP(listener net.Listener) error {
	hello := []byte("Hello, World!")
	contentType := []string{"text/plain"}
	mux := http.NewServeMux()
	mux.HandleFunc("/plaintext", func(writer http.ResponseWriter, _ *http.Request) {
		writer.Header()["Content-Type"] = contentType
		writer.Write(hello)
	})
	return http.Serve(listener, mux)
}

// serverMain serves; arguments begin with echo or http. It returns the exit code.
func serverMain(arguments []string) int {
	flags := flag.NewFlagSet("peer-go "+arguments[0], flag.ContinueOnError)
	address := flags.String("listen", "127.0.0.1:0", "`ADDRESS:PORT` or unix:PATH")
	workers := flags.Int("workers", 1, "threads that run goroutines")
	if flags.Parse(arguments[1:]) != nil || flags.NArg() > 0 {
		return 2
	}
	runtime.GOMAXPROCS(*workers)
	network, where := "tcp", *address
	if path := strings.TrimPrefix(where, "unix:"); path != where {
		network, where = "unix", path
		os.Remove(path) // of an earlier run
	}
	listener, err := net.Listen(network, where)
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer-go:", err)
		return 1
	}
	if network == "unix" {
		fmt.Printf("listening on unix:%s\n", listener.Addr())
	} else {
		fmt.Printf("listening on %s\n", listener.Addr())
	}
	serve := serveEcho
	if arguments[0] == "http" {
		serve = serveHTTP
	}
	fmt.Fprintln(os.Stderr, "peer-go:", serve(listener))
	return 1
}
