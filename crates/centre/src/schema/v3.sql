-- Parameters of the licences of an order, a JSON object of texts; nothing for none.
ALTER TABLE orders ADD COLUMN parameters TEXT;
