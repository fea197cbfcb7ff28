package contract_test

import "github.com/snowtether/snowtether/internal/testpool"

// What the tests of the root package use too, under short names.
var (
	pool      = testpool.Open
	inBubble  = testpool.Bubble
	ways      = testpool.Ways
	uses      = testpool.Uses
	newLogger = testpool.Logger
)

type lines = testpool.Lines
