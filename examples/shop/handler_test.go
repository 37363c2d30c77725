package main

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// shelf is a warehouse of one mug, or one that fails.
type shelf struct{ err error }

func (s shelf) products(context.Context) ([]product, error) {
	return []product{{"mug", "Mug", 1290, 1}}, s.err
}

func (s shelf) order(_ context.Context, sku string, _ int) (product, error) {
	return product{SKU: sku, Name: "Mug", Cents: 1290}, s.err
}

func TestHandler(t *testing.T) {
	broken := errors.New("connection refused")
	tests := []struct {
		method, path string
		err          error
		code         int
		body         string
	}{
		{"GET", "/healthz", broken, 200, "ok"},
		{"GET", "/version", nil, 200, "unknown"},
		{"GET", "/delivery", nil, 200, "2026-11-27"},
		{"GET", "/delivery?at=2026-11-26T11:30:00Z", nil, 200, "2026-11-26"},
		{"GET", "/delivery?at=noon", nil, 400, "at must be a time"},
		{"GET", "/products", nil, 200, `[{"sku":"mug","name":"Mug","cents":1290,"stock":1}]`},
		{"GET", "/products", broken, 503, "closed for a moment"},
		{"POST", "/orders?sku=mug&quantity=1", nil, 201, `"stock":0`},
		{"POST", "/orders?sku=mug&quantity=none", nil, 400, "quantity must be"},
		{"POST", "/orders?sku=car&quantity=1", errUnknown, 404, "no such product"},
		{"POST", "/orders?sku=mug&quantity=9", errSoldOut, 409, "not so many"},
	}
	now := func() time.Time { return time.Date(2026, 11, 26, 14, 30, 0, 0, time.UTC) } // 15:30 in Berlin
	for _, tt := range tests {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			w := httptest.NewRecorder()
			handler(shelf{tt.err}, now).ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
			if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.body) {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, tt.code, tt.body)
			}
		})
	}
}
