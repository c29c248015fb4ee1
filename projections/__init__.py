"""What it means: the journal folded into documents, and the documents published to sinks."""
