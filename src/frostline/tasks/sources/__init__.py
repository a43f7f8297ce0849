"""Where text for classification comes from: one file a kind of source, all giving `Rows`."""
