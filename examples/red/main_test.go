package main

import "testing"

func TestPrice(t *testing.T) {
	for cents, want := range map[int]string{1299: "12.99 EUR", 5: "0.05 EUR"} {
		if got := price(cents); got != want {
			t.Errorf("price(%d) = %q, want %q", cents, got, want)
		}
	}
}
