package snowtest

// This file has the names of before 0.1.0, which goes without them.

// Control is FaultOnce, unless fn calls KeepControl.
//
// Deprecated: use [Server.FaultOnce]. It will be removed in v0.1.0.
func (s *Server) Control(fn func(*Request) (Fault, bool)) { s.FaultOnce(fn) }

// KeepControl keeps the function that calls it, although that function returns true.
//
// Deprecated: use [Server.FaultAlways]. It will be removed in v0.1.0.
func (s *Server) KeepControl() { s.controls.keep = true }

// SessionInfo is SessionConfig.
//
// Deprecated: use [SessionConfig]. It will be removed in v0.1.0.
type SessionInfo = SessionConfig

// End is Refusal.
//
// Deprecated: use [Refusal]. It will be removed in v0.1.0.
type End = Refusal

// NewScript makes an empty script.
//
// Deprecated: use new(Script). It will be removed in v0.1.0.
func NewScript() *Script { return new(Script) }
