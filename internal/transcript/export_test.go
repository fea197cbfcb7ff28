package transcript

import "net/http/httptrace"

// LookUp is gosnowflake's look-up of the request ID.
func LookUp(r *Recorder) { r.note(lookup) }

// Traffic is what net/http reports of one request of gosnowflake's.
func Traffic(r *Recorder) {
	trace := httptrace.ContextClientTrace(r)
	trace.GetConn("")
	trace.WroteHeaderField("Authorization", []string{`Snowflake Token="t"`})
	trace.WroteHeaderField("Content-Length", []string{"100"})
	trace.WroteHeaders()
	trace.WroteRequest(httptrace.WroteRequestInfo{})
	trace.GotFirstResponseByte()
}
