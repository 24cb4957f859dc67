"""Time: one virtual clock for the whole job system, and one real clock for the harness's own limits."""
