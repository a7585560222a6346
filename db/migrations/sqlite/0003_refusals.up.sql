-- On what ground a message was refused, so that its repetition is refused on the same.

ALTER TABLE messages ADD COLUMN refusal_class text;
