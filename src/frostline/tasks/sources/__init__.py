"""Where text with labels comes from: one file a kind of source, all giving `Rows`."""
