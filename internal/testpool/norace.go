//go:build !race

package testpool

const raced = false
