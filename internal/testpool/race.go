//go:build race

package testpool

// raced says that the race detector is on.
const raced = true
