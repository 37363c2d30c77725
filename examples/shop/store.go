package main

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"

	_ "github.com/lib/pq" // the driver
)

//go:embed schema.sql
var schema string

var (
	errUnknown = errors.New("there is no such product")
	errSoldOut = errors.New("there are not so many left")
)

type product struct {
	SKU   string `json:"sku"`
	Name  string `json:"name"`
	Cents int    `json:"cents"`
	Stock int    `json:"stock"`
}

// store keeps the goods in PostgreSQL.
type store struct{ db *sql.DB }

// open does not connect yet: that happens with the first query.
func open(url string) (*store, error) {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return &store{db}, nil
}

func (s *store) close() { _ = s.db.Close() }

// migrate makes the tables that are not there yet.
func (s *store) migrate(ctx context.Context) error {
	if _, err := s.db.ExecContext(ctx, schema); err != nil {
		return fmt.Errorf("make tables: %w", err)
	}
	return nil
}

func (s *store) products(ctx context.Context) ([]product, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT sku, name, cents, stock FROM products ORDER BY sku")
	if err != nil {
		return nil, fmt.Errorf("list products: %w", err)
	}
	defer rows.Close()
	list := []product{}
	for rows.Next() {
		var p product
		if err := rows.Scan(&p.SKU, &p.Name, &p.Cents, &p.Stock); err != nil {
			return nil, fmt.Errorf("list products: %w", err)
		}
		list = append(list, p)
	}
	return list, rows.Err()
}

// order takes goods out of stock, in one statement: two customers never get the same
// last piece.
func (s *store) order(ctx context.Context, sku string, quantity int) (product, error) {
	p := product{SKU: sku}
	const take = "UPDATE products SET stock = stock - $2 WHERE sku = $1 AND stock >= $2 RETURNING name, cents, stock"
	err := s.db.QueryRowContext(ctx, take, sku, quantity).Scan(&p.Name, &p.Cents, &p.Stock)
	if !errors.Is(err, sql.ErrNoRows) {
		return p, err
	}
	var known bool
	if err := s.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM products WHERE sku = $1)", sku).Scan(&known); err != nil {
		return p, fmt.Errorf("look for %s: %w", sku, err)
	}
	if !known {
		return p, errUnknown
	}
	return p, errSoldOut
}
