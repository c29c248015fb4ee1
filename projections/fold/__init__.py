"""The second stage: from the journal, through handlers, into committed documents."""
