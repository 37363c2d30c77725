package main

import (
	"net/http/httptest"
	"testing"
)

func TestHandler(t *testing.T) {
	tests := []struct {
		path string
		code int
		body string
	}{
		{"/", 200, "Hello, world!\n"},
		{"/?name=Ada", 200, "Hello, Ada!\n"},
		{"/healthz", 200, "ok\n"},
		{"/version", 200, "unknown\n"},
		{"/nowhere", 404, "404 page not found\n"},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			w := httptest.NewRecorder()
			handler().ServeHTTP(w, httptest.NewRequest("GET", tt.path, nil))
			if w.Code != tt.code || w.Body.String() != tt.body {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, tt.code, tt.body)
			}
		})
	}
}
