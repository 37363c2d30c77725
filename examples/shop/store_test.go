//go:build integration

package main

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
)

// database is a new shop on the database that DATABASE_URL names.
func database(t *testing.T) *store {
	t.Helper()
	s, err := open(os.Getenv("DATABASE_URL"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	if _, err := s.db.ExecContext(t.Context(), "DROP TABLE IF EXISTS products"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // as every release does it again
		if err := run(t.Context(), []string{"migrate"}, os.Getenv("DATABASE_URL")); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestStore(t *testing.T) {
	s := database(t)
	list, err := s.products(t.Context())
	if err != nil || len(list) != 2 || list[0] != (product{"mug", "Mug with a mill", 1290, 40}) {
		t.Errorf("a new shop has %v, %v", list, err)
	}
	if p, err := s.order(t.Context(), "mug", 38); err != nil || p.Stock != 2 {
		t.Errorf("after 38 of 40 mugs: %v, %v", p, err)
	}
	if _, err := s.order(t.Context(), "mug", 3); !errors.Is(err, errSoldOut) {
		t.Errorf("3 of 2 mugs: %v", err)
	}
	if _, err := s.order(t.Context(), "car", 1); !errors.Is(err, errUnknown) {
		t.Errorf("a car: %v", err)
	}
}

// Only a real database can show this: customers who come at the same moment.
func TestLastPieces(t *testing.T) {
	s := database(t)
	if _, err := s.order(t.Context(), "mug", 35); err != nil {
		t.Fatal(err)
	}
	var sold atomic.Int32
	var customers sync.WaitGroup
	for range 20 {
		customers.Go(func() {
			if _, err := s.order(t.Context(), "mug", 1); err == nil {
				sold.Add(1)
			} else if !errors.Is(err, errSoldOut) {
				t.Error(err)
			}
		})
	}
	customers.Wait()
	if sold.Load() != 5 {
		t.Errorf("sold %d of the last 5 mugs", sold.Load())
	}
}
