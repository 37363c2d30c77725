package pipeline

import "testing"

func TestPublish(t *testing.T) {
	for spec, want := range map[string]bool{
		"80:8080": true, "8080": true, "127.0.0.1::8080": true, "127.0.0.1:80:8080": true, "[::1]:80:8080/udp": true, "8000-8010:9000-9010": true,
		"": false, "web": false, "80:": false, ":::80": false, "80:8080/sctp": false, "80:8080:x": false,
	} {
		if got := isPublish.MatchString(spec); got != want {
			t.Errorf("%q is a port to publish: %t", spec, got)
		}
	}
}
