"""Tables: read in pieces, checked, encoded, ordered and stored."""
