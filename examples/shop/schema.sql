CREATE TABLE IF NOT EXISTS products (
	sku   text PRIMARY KEY,
	name  text NOT NULL,
	cents integer NOT NULL CHECK (cents > 0),
	stock integer NOT NULL CHECK (stock >= 0)
);
INSERT INTO products VALUES
	('mug', 'Mug with a mill', 1290, 40),
	('tea', 'Tea for the race', 450, 120)
ON CONFLICT DO NOTHING;
