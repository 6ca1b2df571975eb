"""Where every file of a study lies, and how it is written: formats, checksums, atomic writes."""
