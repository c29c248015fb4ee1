"""The HTTP API: what the fold holds, served beside the pipeline. Reads only; owns no rule of the fold."""
