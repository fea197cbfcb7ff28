package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"
)

// start stands for a redis-server that is started for the run.
const start = "start"

var errNoRedis = errors.New("redis-server is not installed: apt-get install redis-server, or -redis with the address of one")

// startRedis starts a redis-server that keeps nothing, on a free port of the loopback.
func startRedis(ctx context.Context) (address string, stop func(), err error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return "", nil, errNoRedis
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address = listener.Addr().String()
	host, port, err := net.SplitHostPort(address)
	if err = errors.Join(err, listener.Close()); err != nil { // it was only to find a port that is free
		return "", nil, err
	}
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, program, "--bind", host, "--port", port, "--dir", dir, "--save", "", "--appendonly", "no")
	if err := cmd.Start(); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop = func() {
		_ = cmd.Process.Kill() // there is nothing to be saved
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	for range 100 {
		if err = ping(ctx, address); err == nil {
			return address, stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return "", nil, err
}

// ping says whether a Redis answers.
func ping(ctx context.Context, address string) error {
	client := connect(address)
	defer client.Close()
	if err := client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("the Redis at %s does not answer: %w", address, err)
	}
	return nil
}
