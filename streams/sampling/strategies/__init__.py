"""How policies choose among the traces that they take: one module a strategy."""
