package snowtest

// This file has the names of before 0.1.0, which goes without them.

// Control is FaultOnce, unless fn calls KeepControl.
//
// Deprecated: use [Server.FaultOnce]. This name goes with 0.1.0.
func (s *Server) Control(fn func(*Request) (Fault, bool)) { s.FaultOnce(fn) }

// KeepControl keeps the function that calls it, although that function returns true.
//
// Deprecated: use [Server.FaultAlways]. This name goes with 0.1.0.
func (s *Server) KeepControl() { s.controls.keep = true }

// SessionInfo is SessionConfig.
//
// Deprecated: use [SessionConfig]. This name goes with 0.1.0.
type SessionInfo = SessionConfig

// End is Refusal.
//
// Deprecated: use [Refusal]. This name goes with 0.1.0.
type End = Refusal

// NewScript makes an empty script.
//
// Deprecated: use new(Script). This name goes with 0.1.0.
func NewScript() *Script { return new(Script) }
