package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// warehouse is what the handlers need of the store.
type warehouse interface {
	products(ctx context.Context) ([]product, error)
	order(ctx context.Context, sku string, quantity int) (product, error)
}

func handler(w warehouse, now func() time.Time) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, version) })
	mux.HandleFunc("GET /delivery", func(w http.ResponseWriter, r *http.Request) { tellDelivery(w, r, now()) })
	mux.HandleFunc("GET /products", func(out http.ResponseWriter, r *http.Request) {
		list, err := w.products(r.Context())
		answer(out, http.StatusOK, list, err)
	})
	mux.HandleFunc("POST /orders", func(out http.ResponseWriter, r *http.Request) {
		quantity, err := strconv.Atoi(r.FormValue("quantity"))
		if err != nil || quantity < 1 {
			http.Error(out, "quantity must be a number above 0", http.StatusBadRequest)
			return
		}
		p, err := w.order(r.Context(), r.FormValue("sku"), quantity)
		answer(out, http.StatusCreated, p, err)
	})
	return mux
}

// tellDelivery says when an order of ?at=, or of now, leaves the warehouse.
func tellDelivery(w http.ResponseWriter, r *http.Request, at time.Time) {
	if s := r.FormValue("at"); s != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, s); err != nil {
			http.Error(w, "at must be a time such as 2026-11-27T11:30:00Z", http.StatusBadRequest)
			return
		}
	}
	fmt.Fprintln(w, leaves(at).Format(time.DateOnly))
}

func answer(w http.ResponseWriter, status int, body any, err error) {
	switch {
	case errors.Is(err, errUnknown):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.Is(err, errSoldOut):
		http.Error(w, err.Error(), http.StatusConflict)
	case err != nil:
		slog.Error("the database cannot be used", "error", err)
		http.Error(w, "the shop is closed for a moment", http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body) // who hung up does not need it
	}
}
