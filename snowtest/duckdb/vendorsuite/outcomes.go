package main

// This file says what the outcomes of a test are called, and why some tests cannot pass.

import (
	"regexp"
	"strings"
)

// A class is what became of a test.
type class string

const (
	passed  class = "passed"
	skipped class = "skipped"
	outside class = "outside"
	refused class = "refused"
	ours    class = "ours"
)

var classes = []class{passed, skipped, outside, refused, ours}

var meanings = map[class]string{
	passed:  "passed",
	skipped: "skipped by the suite itself",
	outside: "need the internet, an account or what only an account has",
	refused: "refused by design: see the list in the engine's documentation",
	ours:    "ours: failed, and should not",
}

// An outcome is that of one test.
type outcome struct {
	Name    string  `json:"name"`
	Class   class   `json:"class"`
	Seconds float64 `json:"seconds"`
	Why     string  `json:"why,omitempty"`
	Output  string  `json:"output,omitempty"` // of a test that did not pass
}

// needs says of tests, by a pattern of their names, what they need besides a server.
var needs = []struct{ name, what string }{
	{"TestCrlE2E", "certificates of a public host and their revocation lists"},
	{"TestErrorReturnedFromLongRunningQuery|TestShouldSetUpTlsConfig", "a WireMock server"},
	{"Test(Put|Get)WithNonWritableTemp", "a user other than root, whom no permission stops"},
	{"TestContextPropagatedToAuthWhenUsingOpen(DB)?", "a login that takes longer than 20 ms"},
}

// byDesign finds in what a failed test says the feature that the engine refuses for good.
var byDesign = regexp.MustCompile(`Unsupported feature '(structured type|DECFLOAT|MAP|CREATE FUNCTION in|CREATE PROCEDURE|EXECUTE IMMEDIATE|CREATE HYBRID|CREATE STREAM|CREATE TASK|time travel|CLONE|MATCH_RECOGNIZE)[^']*'`)

var (
	result  = regexp.MustCompile(`(?m)^--- (PASS|SKIP|FAIL): `)
	message = regexp.MustCompile(`(?m)^\s+\w+_test\.go:\d+: (.*)$`)
	crash   = regexp.MustCompile(`(?m)^panic: (.*)$`)
)

// judge reads what a test printed. The test passed only if it says so and its process
// ended well.
func judge(name, output string, failed error) outcome {
	o := outcome{Name: name, Output: output, Class: ours}
	m := result.FindStringSubmatch(output)
	switch {
	case failed == nil && m != nil && m[1] == "PASS":
		return outcome{Name: name, Class: passed}
	case failed == nil && m != nil && m[1] == "SKIP":
		o.Class = skipped
	}
	if lines := message.FindAllStringSubmatch(output, -1); len(lines) > 0 {
		o.Why = lines[len(lines)-1][1]
		for _, l := range lines {
			if strings.Contains(l[1], "err") || strings.Contains(l[1], "expected") {
				o.Why = l[1]
				break
			}
		}
	} else if m := crash.FindStringSubmatch(output); m != nil {
		o.Why = m[1]
	} else if failed != nil {
		o.Why = failed.Error()
	}
	if len(o.Why) > 200 {
		o.Why = o.Why[:200] + " …"
	}
	if o.Class == skipped {
		return o
	}
	if m := byDesign.FindString(output); m != "" {
		o.Class = refused
	}
	for _, n := range needs {
		if regexp.MustCompile("^(" + n.name + ")$").MatchString(name) {
			o.Class, o.Why = outside, n.what
		}
	}
	return o
}
