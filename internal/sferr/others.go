package sferr

import (
	"compress/flate"
	"compress/gzip"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"

	"golang.org/x/oauth2"
)

// This file reads errors that are not gosnowflake's own: those of who hands out tokens, and of
// replies that cannot be read.

// ProviderStatus is the HTTP status with which an identity provider, or a cloud's metadata
// service, refused to hand out a token, or 0.
func ProviderStatus(err error) int {
	if e, ok := as[*oauth2.RetrieveError](err); ok && e.Response != nil {
		return e.Response.StatusCode
	}
	if e, ok := as[interface { // of AWS's SDK
		error
		HTTPStatusCode() int
	}](err); ok {
		return e.HTTPStatusCode()
	}
	if m := providerStatus.FindStringSubmatch(err.Error()); m != nil {
		status, _ := strconv.Atoi(m[1])
		return status
	}
	return 0
}

// providerStatus is in gosnowflake's words (auth_wif.go).
var providerStatus = regexp.MustCompile(`response status is (\d{3})\b`)

// IsGarbled reports whether the reply could not be read: a page of HTML in place
// of JSON, half a reply, a code that is no number, bad compression.
func IsGarbled(err error) bool {
	if _, ok := as[flate.CorruptInputError](err); ok || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		return true
	}
	if _, ok := as[*json.SyntaxError](err); ok {
		return true
	}
	if _, ok := as[*json.UnmarshalTypeError](err); ok {
		return true
	}
	return IsNotANumber(err)
}

// IsNotANumber reports whether a code in the reply was no number.
func IsNotANumber(err error) bool {
	_, ok := as[*strconv.NumError](err)
	return ok
}

// as is errors.As with its type first.
func as[E error](err error) (target E, ok bool) {
	ok = errors.As(err, &target)
	return target, ok
}
