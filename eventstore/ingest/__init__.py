"""The first stage: from a source, through the reorg decision, into the journal."""
