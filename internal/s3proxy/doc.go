// Package s3proxy is a reverse proxy in front of a real object store, for tests and benchmarks. It breaks rules, adds
// latency, and counts.
//
//	p := s3proxy.New(t, server.Endpoint) // clients use p.URL
//	p.Add(
//		s3proxy.On(s3proxy.Put).Rate(0.1, seed).Answer(503, "SlowDown"),   // one in ten, and nothing is done
//		s3proxy.On(s3proxy.Put).Key("/log/").Nth(2).AnswerAfter(500, ""),  // done, but answered with an error
//		s3proxy.On(s3proxy.Get).Times(3).CutResponse(1000),                // reset after 1000 bytes
//		s3proxy.On(s3proxy.Delete).Always().Again(time.Second),            // each is sent a second time, later
//	)
//	p.SetLatency(50 * time.Millisecond)
//
// Rules are values, as in package fault, and like there a rule without Nth, Times, Always or Rate fires once. Of several
// that could fire the first does. [Rule.IgnoreCreateOnly] and [Rule.SeveralWinners] change what the client has signed, so
// they need [Proxy.Sign] with its keys. All others pass requests on as they are, with the host that the client has signed.
//
// Latency is that of a distant server: a whole round trip for each new connection, and for each request half of one before
// it arrives and half of one before the answer does. Bandwidth stays what it is.
//
// The record of all requests is [Proxy.Requests]. [Chain] is the number of them that one had to wait for after the other.
package s3proxy
