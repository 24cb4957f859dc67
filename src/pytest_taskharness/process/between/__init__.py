"""What a worker's process and the test's have between them: the journal, the clock, what is told and in which words."""
