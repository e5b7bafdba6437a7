"""From public feeds to notices: each importer is a pure function from one row to a type's `data`, and a subject."""
