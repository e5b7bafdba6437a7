"""The wire contract: what notices, agreements, statements and ledger entries look like. Pure; JSON Schemas are made from it."""
