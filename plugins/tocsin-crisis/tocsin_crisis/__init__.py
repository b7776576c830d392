"""Crisis messages for Tocsin: data sets that `tocsin fetch` brings."""
