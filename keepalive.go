package snowtether

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file is about what keeps an idle session alive. Today that is
// gosnowflake's own heartbeat, one request per session and interval; all that is
// done here is to see to it that the heartbeat really runs.

// The session parameters, in the spelling that gosnowflake acts on: only the
// lower-case key counts, and for the first only the exact text "true"
// (isClientSessionKeepAliveEnabled of v2.1.0). Anything else silently means no
// heartbeat.
const (
	paramKeepAlive = "client_session_keep_alive"
	paramHeartbeat = "client_session_keep_alive_heartbeat_frequency"
)

// applyKeepAlive normalises what the DSN or the program put into cfg.Params to
// what gosnowflake acts on, and fills in what nobody said.
func (s *settings) applyKeepAlive(cfg *gosnowflake.Config) error {
	if cfg.Params == nil {
		cfg.Params = make(map[string]*string)
	}
	on, found, err := takeParam(cfg.Params, paramKeepAlive, parseBool)
	if err != nil {
		return err
	}
	switch {
	case s.keepAlive != nil:
		on = *s.keepAlive
	case !found:
		on = true
	}
	frequency, found, err := takeParam(cfg.Params, paramHeartbeat, parseSeconds)
	if err != nil {
		return err
	}
	if s.heartbeat != 0 {
		frequency, found = s.heartbeat, true
	}
	value := strconv.FormatBool(on)
	cfg.Params[paramKeepAlive] = &value
	if found {
		value := strconv.Itoa(int(frequency / time.Second))
		cfg.Params[paramHeartbeat] = &value
	}
	return nil
}

// takeParam removes every spelling of a parameter from params and parses it.
func takeParam[T comparable](params map[string]*string, name string, parse func(string) (T, error)) (value T, found bool, err error) {
	for key, v := range params {
		if !strings.EqualFold(key, name) {
			continue
		}
		if v == nil {
			return value, false, fmt.Errorf("snowtether: the parameter %s has no value", name)
		}
		parsed, err := parse(*v)
		if err != nil {
			return value, false, fmt.Errorf("snowtether: the parameter %s %w", name, err)
		}
		if found && parsed != value {
			return value, false, fmt.Errorf("snowtether: the parameter %s is given twice, with different values", name)
		}
		value, found = parsed, true
		delete(params, key)
	}
	return value, found, nil
}

func parseSeconds(v string) (time.Duration, error) {
	n, err := strconv.ParseInt(v, 10, 32)
	if d := time.Duration(n) * time.Second; err == nil && d >= minHeartbeat && d <= maxHeartbeat {
		return d, nil
	}
	return 0, errors.New("must be a whole number of seconds from 900 to 3600")
}
